//! Who is there: sessions behind cookies, the tokens of forms, and how often somebody may try a password.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use governor::clock::DefaultClock;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::answer::Viewer;
use crate::wire::verifier::Verifier;

/// A session of which nothing is heard for so long is over.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// The longest that a session lasts.
const LONGEST: Duration = Duration::from_secs(8 * 60 * 60);
/// So many sessions a developer may have; with one more, the one that was used least lately is over.
const MOST: usize = 8;
/// So many times a minute a password may be tried from one place.
const TRIES: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);

/// The cookie of a session.
pub(super) const SESSION: &str = "devinprod_page";
/// The cookie that the form of the login must match.
pub(super) const FORM: &str = "devinprod_form";

/// Who is logged in.
pub(super) struct Entry {
    /// By the hash of the cookie: looking one up takes no time that would say anything about it.
    sessions: Mutex<HashMap<[u8; 32], Session>>,
    tries: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, DefaultClock>,
    secure: bool,
}

struct Session {
    viewer: Viewer,
    /// What the password was checked against: with another password, the session is over.
    verifier: Verifier,
    begun: Instant,
    seen: Instant,
    address: SocketAddr,
}

impl Entry {
    /// `secure`: cookies are for TLS alone.
    pub fn new(secure: bool) -> Self {
        Self {
            sessions: Mutex::default(),
            tries: RateLimiter::hashmap(Quota::per_minute(TRIES)),
            secure,
        }
    }

    /// May somebody there try a password now?
    pub fn may_try(&self, address: SocketAddr) -> bool {
        if self.tries.len() > 10_000 {
            self.tries.retain_recent();
        }
        self.tries.check_key(&place(address.ip())).is_ok()
    }

    /// Begins a session; gives the cookie's value.
    pub fn begin(&self, developer: &str, verifier: Verifier, address: SocketAddr) -> String {
        let cookie = random();
        let now = Instant::now();
        let session = Session {
            viewer: Viewer {
                developer: developer.to_owned(),
                token: random(),
            },
            verifier,
            begun: now,
            seen: now,
            address,
        };
        let mut sessions = self.lock();
        sessions.retain(|_, session| session.is_alive(now));
        let theirs = sessions
            .iter()
            .filter(|(_, session)| session.viewer.developer == developer);
        if theirs.clone().count() >= MOST
            && let Some(oldest) = theirs
                .min_by_key(|(_, session)| session.seen)
                .map(|(key, _)| *key)
        {
            sessions.remove(&oldest);
        }
        sessions.insert(key(&cookie), session);
        cookie
    }

    /// Whose session a cookie is; `verifier` says what developers' passwords are checked against now.
    pub fn viewer(
        &self,
        cookie: &str,
        verifier: impl FnOnce(&str) -> Option<Verifier>,
    ) -> Option<Viewer> {
        let now = Instant::now();
        let mut sessions = self.lock();
        let key = key(cookie);
        let session = sessions.get_mut(&key)?;
        let alive = session.is_alive(now)
            && verifier(&session.viewer.developer).as_ref() == Some(&session.verifier);
        if !alive {
            sessions.remove(&key);
            return None;
        }
        session.seen = now;
        Some(session.viewer.clone())
    }

    /// Ends a session; says whose it was, and where it began.
    pub fn end(&self, cookie: &str) -> Option<(String, SocketAddr)> {
        let session = self.lock().remove(&key(cookie))?;
        Some((session.viewer.developer, session.address))
    }

    /// A cookie that no script sees and no other site can have sent; without a value, one that goes away.
    pub fn cookie(&self, name: &str, value: Option<&str>) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        let gone = if value.is_none() { "; Max-Age=0" } else { "" };
        format!(
            "{name}={}; Path=/; HttpOnly; SameSite=Strict{secure}{gone}",
            value.unwrap_or_default()
        )
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn is_alive(&self, now: Instant) -> bool {
        now.duration_since(self.seen) < IDLE && now.duration_since(self.begun) < LONGEST
    }
}

/// Whether a form has the token that it was given.
pub(super) fn same(token: &str, expected: &str) -> bool {
    !expected.is_empty() && bool::from(token.as_bytes().ct_eq(expected.as_bytes()))
}

/// 256 random bits, in hexadecimal.
pub(super) fn random() -> String {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes);
    hex::encode(bytes)
}

fn key(cookie: &str) -> [u8; 32] {
    Sha256::digest(cookie).into()
}

/// Addresses that one customer of a network has many of count as one.
fn place(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> SocketAddr {
        ([127, 0, 0, 1], 4711).into()
    }

    #[test]
    fn a_session_ends_with_its_password() {
        let entry = Entry::new(false);
        let (old, new) = (
            Verifier::from_password("a", 1),
            Verifier::from_password("b", 1),
        );
        let cookie = entry.begin("dev1", old.clone(), home());
        let viewer = entry.viewer(&cookie, |_| Some(old.clone())).unwrap();
        assert_eq!(viewer.developer, "dev1");
        assert!(entry.viewer(&random(), |_| Some(old.clone())).is_none());
        assert!(entry.viewer(&cookie, |_| Some(new.clone())).is_none());
        assert!(entry.viewer(&cookie, |_| Some(old.clone())).is_none());
        let cookie = entry.begin("dev1", old.clone(), home());
        assert!(entry.viewer(&cookie, |_| None).is_none());
    }

    #[test]
    fn sessions_are_few_and_do_not_last() {
        let entry = Entry::new(false);
        let verifier = Verifier::from_password("a", 1);
        let first = entry.begin("dev1", verifier.clone(), home());
        let other = entry.begin("dev2", verifier.clone(), home());
        let mut last = String::new();
        for _ in 0..MOST {
            last = entry.begin("dev1", verifier.clone(), home());
        }
        let is_there = |cookie: &str| entry.viewer(cookie, |_| Some(verifier.clone())).is_some();
        assert!(!is_there(&first));
        assert!(is_there(&other) && is_there(&last));
        let back = |duration| Instant::now().checked_sub(duration).unwrap();
        let set = |cookie: &str, begun, seen| {
            let mut sessions = entry.lock();
            let session = sessions.get_mut(&key(cookie)).unwrap();
            (session.begun, session.seen) = (begun, seen);
        };
        set(&other, back(LONGEST), Instant::now());
        assert!(!is_there(&other));
        set(&last, Instant::now(), back(IDLE));
        assert!(!is_there(&last));
    }

    #[test]
    fn passwords_are_not_tried_for_ever() {
        let entry = Entry::new(false);
        let tries = (0..100).filter(|_| entry.may_try(home())).count();
        assert!((10..20).contains(&tries), "{tries}");
        let neighbour = |last| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, last], 1));
        let tries = (0..100).filter(|n| entry.may_try(neighbour(*n))).count();
        assert!((10..20).contains(&tries), "{tries}");
    }

    #[test]
    fn a_token_that_is_missing_matches_nothing() {
        assert!(same("a", "a"));
        for (token, expected) in [("", ""), ("a", ""), ("", "a"), ("a", "b")] {
            assert!(!same(token, expected));
        }
    }

    #[test]
    fn cookies_say_what_browsers_may_do_with_them() {
        let shown = Entry::new(true).cookie(SESSION, Some("aa"));
        assert_eq!(
            shown,
            "devinprod_page=aa; Path=/; HttpOnly; SameSite=Strict; Secure"
        );
        let gone = Entry::new(false).cookie(SESSION, None);
        assert_eq!(
            gone,
            "devinprod_page=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"
        );
    }
}
