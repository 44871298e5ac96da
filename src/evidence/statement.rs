//! [`Statement`]: what is signed; in-toto's
//! [statement](https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md) with the predicate
//! [test result](https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md).

use serde::{Deserialize, Serialize};

use super::claim::{Claim, Commit, is_name};
use crate::audit::time::parse;
use crate::audit::{Envelope, Signer};

/// The type of the payload.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const TYPE: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "https://in-toto.io/attestation/test-result/v0.1";
const PASSED: &str = "PASSED";
const FAILED: &str = "FAILED";

/// Evidence: what the proxy knows, and what a command said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What the proxy knows itself.
    pub witness: Witness,
    /// What the command said.
    pub claim: Claim,
    /// When it was signed, in milliseconds since 1970.
    pub time: u64,
}

/// What the proxy knows itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// Who said it: the developer that had logged in.
    pub developer: String,
    /// The upstream that they named, and may use.
    pub upstream: String,
    /// What kind of data it holds.
    pub stage: String,
    /// What stands between developers and its data.
    pub isolation: String,
    /// The version of the policy in force there, if there is one.
    pub policy: Option<String>,
    /// When it was signed: RFC 3339, in UTC, by the proxy's clock.
    pub time: String,
    /// The name of the log that has it on record.
    pub log: String,
    /// The proxy's version.
    pub devinprod: String,
}

/// The statement as it is written. What is read must be of this form; other fields are passed over, as the specification
/// asks.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Debug, Serialize, Deserialize)]
struct Subject {
    digest: Digest,
}

#[derive(Debug, Serialize, Deserialize)]
struct Digest {
    #[serde(rename = "gitCommit")]
    git_commit: Commit,
}

#[derive(Debug, Serialize, Deserialize)]
struct Predicate {
    result: String,
    configuration: Vec<Descriptor>,
    /// What the specification has no name for.
    devinprod: Own,
}

/// in-toto's description of a file.
#[derive(Debug, Serialize, Deserialize)]
struct Descriptor {
    name: String,
    digest: Sha256,
}

#[derive(Debug, Serialize, Deserialize)]
struct Sha256 {
    sha256: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Own {
    /// What the proxy vouches for.
    proxy: Witness,
    /// What the command said.
    command: Claim,
}

impl Statement {
    /// Signs what a command said, and what the proxy knows.
    ///
    /// # Errors
    /// None is known.
    pub fn sign(claim: Claim, witness: Witness, signer: &Signer) -> serde_json::Result<Envelope> {
        let written = Written {
            kind: TYPE.to_owned(),
            subject: vec![Subject {
                digest: Digest {
                    git_commit: claim.commit.clone(),
                },
            }],
            predicate_type: PREDICATE_TYPE.to_owned(),
            predicate: Predicate {
                result: if claim.passed { PASSED } else { FAILED }.to_owned(),
                configuration: claim
                    .inputs
                    .iter()
                    .map(|input| Descriptor {
                        name: input.name.clone(),
                        digest: Sha256 {
                            sha256: input.sha256.clone(),
                        },
                    })
                    .collect(),
                devinprod: Own {
                    proxy: witness,
                    command: claim,
                },
            },
        };
        let payload = serde_json::to_vec(&written)?;
        Ok(signer.sign(PAYLOAD_TYPE, &payload))
    }

    /// Reads the payload of an envelope of this type; None: it is no evidence, or contradicts itself.
    pub fn read(payload_type: &str, payload: &[u8]) -> Option<Self> {
        let written: Written = serde_json::from_slice(payload).ok()?;
        let Own { proxy, command } = written.predicate.devinprod;
        let [subject] = written.subject.as_slice() else {
            return None;
        };
        let Witness {
            developer,
            upstream,
            stage,
            isolation,
            policy,
            time: _,
            log,
            devinprod,
        } = &proxy;
        let names = [developer, upstream, stage, isolation, log, devinprod];
        let is_bounded = names.into_iter().chain(policy).all(|text| is_name(text));
        if !is_bounded || command.excess().is_some() {
            return None;
        }
        let result = if command.passed { PASSED } else { FAILED };
        let is_ours = payload_type == PAYLOAD_TYPE
            && written.kind == TYPE
            && written.predicate_type == PREDICATE_TYPE
            && subject.digest.git_commit == command.commit
            && written.predicate.result == result
            && proxy.upstream == command.upstream;
        let time = parse(&proxy.time)?;
        is_ours.then_some(Self {
            witness: proxy,
            claim: command,
            time,
        })
    }
}
