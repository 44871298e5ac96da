//! Cases of whole policies: what they decide, or what is said about them.

use super::*;

fn parse(texts: &[&str]) -> Result<Loaded, Wrong> {
    let files = texts.iter().enumerate().map(|(number, text)| Source {
        path: PathBuf::from(format!("policies/{}.toml", number + 1)),
        text: (*text).to_owned(),
    });
    let now = Moment::from_toml(&toml::Value::String("2026-06-01".to_owned()));
    Policy::parse(files.collect(), now.unwrap())
}

#[track_caller]
fn policy(text: &str) -> Policy {
    parse(&[text]).unwrap().policy
}

/// What is wrong with `text` must be said with all of `expected`.
#[track_caller]
fn check_refused(texts: &[&str], expected: &[&str]) {
    let wrong = match parse(texts) {
        Ok(_) => panic!("accepted: {texts:?}"),
        Err(wrong) => wrong.to_string(),
    };
    for part in expected {
        assert!(wrong.contains(part), "{part:?} is not in:\n{wrong}");
    }
}

#[test]
fn the_first_that_says_anything_decides() {
    let policy = policy(
        "default = \"null\"\n\
         [schema.hr]\ndefault = \"deny\"\n\
         [class.email]\nnames = [\"*email*\"]\nexcept = [\"email_verified\"]\nas = \"null\"\n\
         [class.keys]\nnames = [\"id\", \"*_id\"]\nas = \"clear\"\n\
         [table.public.users]\nemail = \"clear\"\ncity = { as = \"clear\", because = \"too coarse\" }\n\
         [table.public.products]\n\"*\" = { as = \"clear\", because = \"on the web site\" }\n\
         [table.public.secrets]\n\"*\" = \"deny\"\nid = \"clear\"\n",
    );
    for (schema, relation, column, treatment, because) in [
        ("public", "users", "email", "clear", "policies/1.toml:12"),
        ("public", "users", "city", "clear", "policies/1.toml:13"),
        (
            "public",
            "users",
            "work_email",
            "null",
            "policies/1.toml:7 (class email)",
        ),
        (
            "public",
            "users",
            "email_verified",
            "null",
            "policies/1.toml:1 (default)",
        ),
        (
            "public",
            "users",
            "team_id",
            "clear",
            "policies/1.toml:10 (class keys)",
        ),
        (
            "public",
            "products",
            "name",
            "clear",
            "policies/1.toml:15 (every other column of the table)",
        ),
        // What opens a table yields to classes.
        (
            "public",
            "products",
            "maker_email",
            "null",
            "policies/1.toml:7 (class email)",
        ),
        (
            "public",
            "secrets",
            "owner_email",
            "deny",
            "policies/1.toml:17 (every other column of the table)",
        ),
        ("public", "secrets", "id", "clear", "policies/1.toml:18"),
        (
            "hr",
            "staff",
            "wage",
            "deny",
            "policies/1.toml:3 (default of the schema)",
        ),
        (
            "public",
            "new",
            "thing",
            "null",
            "policies/1.toml:1 (default)",
        ),
        // Names are compared as the catalog has them.
        (
            "public",
            "Users",
            "email",
            "null",
            "policies/1.toml:7 (class email)",
        ),
    ] {
        let decision = policy.column(schema, relation, column);
        assert_eq!(
            (decision.treatment.name(), decision.because.as_str()),
            (treatment, because),
            "{schema}.{relation}.{column}"
        );
    }
    assert_eq!(policy.reason("public", "users", "city"), Some("too coarse"));
}

#[test]
fn what_nobody_classified_is_denied() {
    let decision = policy("").column("public", "users", "email");
    assert_eq!(decision.treatment, Treatment::Deny);
    assert_eq!(decision.because, "no line of the policy names it");
}

#[test]
fn classes_that_match_and_differ_deny() {
    let policy = policy(
        "[class.keys]\nnames = [\"*_id\"]\nas = \"clear\"\n[class.national]\nnames = [\"national*\"]\nas = \"null\"\n",
    );
    let decision = policy.column("public", "users", "national_id");
    assert_eq!(decision.treatment, Treatment::Deny);
    assert_eq!(
        decision.because,
        "policies/1.toml:3 (class keys) and policies/1.toml:6 (class national) differ"
    );
}

#[test]
fn opening_the_unclassified_takes_many_words() {
    let message = "also those that are added tomorrow";
    for text in [
        "default = \"clear\"",
        "default = { as = \"clear\", because = \"x\" }",
        "default = { as = \"clear\", opens_unclassified = true }",
        "default = { as = \"clear\", opens_unclassified = false, because = \"x\" }",
        "default = { as = \"clear\", opens_unclassified = true, because = \" \" }",
        "[schema.public]\ndefault = \"clear\"",
    ] {
        check_refused(&[text], &[message, "hint: use \"deny\""]);
    }
    check_refused(
        &["[table.public.t]\n\"*\" = \"clear\""],
        &["opens all of public.t, also columns", "say why"],
    );
    check_refused(
        &["[class.a]\nnames = [\"x\", \"t.*\"]\nas = \"clear\""],
        &[
            "cannot open every column",
            "2 | names = [\"x\", \"t.*\"]\n  |               ^^^^^",
        ],
    );
    let open = policy(
        "default = { as = \"clear\", opens_unclassified = true, because = \"made-up data\" }",
    );
    assert_eq!(open.column("a", "b", "c").treatment, Treatment::Clear);
}

#[test]
fn mistakes_are_underlined_all_of_them() {
    check_refused(
        &[
            "upstraem = \"shop\"\ndefault = \"dney\"\n[table.public.users]\nemail = \"nulll\"\nphone = { as = \"null\", lenght = 3 }\nname = { because = \"x\" }\nborn = 7\n",
        ],
        &[
            "policies/1.toml:1:1: unknown setting `upstraem`",
            "did you mean `upstream`?",
            "policies/1.toml:2:11: there is no mask `dney`\n  |\n2 | default = \"dney\"\n  |           ^^^^^^\nhint: did you mean `deny`?",
            "4 | email = \"nulll\"\n  |         ^^^^^^^\nhint: did you mean `null`?",
            "`lenght`",
            "missing setting `as`",
            "policies/1.toml:7:8: invalid type: integer `7`, expected \"clear\", \"deny\", the name of a mask",
        ],
    );
}

#[test]
fn several_files_are_one_policy() {
    let one = "upstream = \"shop\"\n[table.public.users]\nemail = \"null\"\n";
    let two = "[table.public.users]\nphone = \"null\"\n";
    let policy = parse(&[one, two]).unwrap().policy;
    assert_eq!(policy.upstream(), Some("shop"));
    assert_eq!(
        policy.column("public", "users", "phone").because,
        "policies/2.toml:2"
    );
    assert_eq!(
        policy.version(),
        parse(&[two, one]).unwrap().policy.version(),
        "in whatever order"
    );
    assert_ne!(policy.version(), parse(&[one]).unwrap().policy.version());

    check_refused(
        &[
            one,
            "upstream = \"shop\"\n[table.public.users]\nemail = \"clear\"\n",
        ],
        &["policies/2.toml:3:1: `email` of public.users stands at policies/1.toml:3 already"],
    );
    check_refused(
        &[one, "upstream = \"other\"\n"],
        &["for the upstream \"other\", and policies/1.toml:1 for \"shop\""],
    );
    check_refused(
        &["default = \"deny\"", "default = \"deny\""],
        &["policies/2.toml:1:11: the default stands at policies/1.toml:1 already"],
    );
    let class = "[class.a]\nnames = [\"x\"]\nas = \"null\"\n";
    check_refused(
        &[class, class],
        &["the class `a` stands at policies/1.toml:3 already"],
    );
    check_refused(
        &[class, "[class.b]\nnames = [\"X\"]\nas = \"clear\"\n"],
        &["the classes `a` (at policies/1.toml:3) and `b` have a name in common and differ"],
    );
}

const EXCEPTIONS: &str = "[table.public.users]\nphone = \"null\"\nssn = \"deny\"\ncity = \"clear\"\n\
    [[exception]]\nset = \"support\"\nwho = [\"@support\", \"dev7\"]\ncolumns = [\"public.users.phone\"]\n\
    until = 2027-01-31\nbecause = \"they call people back\"\n\
    [[exception]]\nset = \"audit\"\nwho = [\"@audit\"]\ncolumns = [\"public.users.phone\"]\n\
    until = 2026-12-31T12:00:00+01:00\nbecause = \"yearly\"\n";

#[test]
fn exceptions_belong_to_sets() {
    let policy = policy(EXCEPTIONS);
    assert_eq!(policy.sets(), ["audit", "support"]);
    let until = |set: &str, until: &str| Exception {
        set: set.to_owned(),
        until: until.to_owned(),
    };
    assert_eq!(
        policy.column("public", "users", "phone").exceptions,
        [
            until("support", "2027-01-31 23:59:59+00"),
            until("audit", "2026-12-31 11:00:00+00")
        ]
    );
    assert!(
        policy
            .column("public", "users", "city")
            .exceptions
            .is_empty()
    );
    let groups = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(policy.set_of("dev1", &groups(&[])), Ok(None));
    assert_eq!(
        policy.set_of("dev1", &groups(&["support"])),
        Ok(Some("support"))
    );
    assert_eq!(policy.set_of("dev7", &groups(&[])), Ok(Some("support")));
    // Her own name goes before her groups.
    assert_eq!(
        policy.set_of("dev7", &groups(&["audit"])),
        Ok(Some("support"))
    );
    assert_eq!(
        policy.set_of("dev1", &groups(&["audit", "support"])),
        Err(Ambiguous("audit".to_owned(), "support".to_owned()))
    );
    assert_eq!(policy.set_of("support", &groups(&[])), Ok(None));
}

#[test]
fn exceptions_that_are_wrong() {
    for (before, after, expected) in [
        (
            "\"public.users.phone\"",
            "\"public.users.ssn\"",
            "public.users.ssn is denied (policies/1.toml:3)",
        ),
        (
            "\"public.users.phone\"",
            "\"users.phone\"",
            "`users.phone` names no column",
        ),
        (
            "\"public.users.phone\"",
            "\"public.users.*\"",
            "names each of its columns",
        ),
        ("[\"public.users.phone\"]", "[]", "at least one column"),
        ("\"@support\", \"dev7\"", "", "an exception is for somebody"),
        ("\"@support\"", "\"*\"", "never for everybody"),
        (
            "\"support\"",
            "\"Support team\"",
            "`Support team` cannot name a set",
        ),
        (
            "set = \"audit\"",
            "set = \"support\"",
            "the set `support` is for others at policies/1.toml:5",
        ),
        ("2027-01-31", "2027-01-31T10:00:00", "no day and no instant"),
        (
            "\"they call people back\"",
            "\"\"",
            "a reason is needed here",
        ),
        ("because = \"yearly\"\n", "", "missing setting `because`"),
    ] {
        assert!(EXCEPTIONS.contains(before), "{before}");
        check_refused(&[&EXCEPTIONS.replacen(before, after, 1)], &[expected]);
    }
}

#[test]
fn an_exception_that_has_ended_or_is_not_needed_is_warned_about() {
    let warnings = |text: &str| {
        let warnings = parse(&[text]).unwrap().warnings;
        warnings.iter().map(Report::to_string).collect::<String>()
    };
    assert_eq!(warnings(EXCEPTIONS), "");
    let ended = warnings(&EXCEPTIONS.replace("2027-01-31", "2026-05-31"));
    assert!(
        ended.contains("policies/1.toml:9:9: this exception has ended"),
        "{ended}"
    );
    // On its day it holds to the end.
    assert_eq!(
        warnings(&EXCEPTIONS.replace("2027-01-31", "2026-06-01")),
        ""
    );
    let clear = warnings(&EXCEPTIONS.replace("users.phone", "users.city"));
    assert!(
        clear.contains("public.users.city is clear for everybody"),
        "{clear}"
    );
}

#[test]
fn vouches_functions_and_cases() {
    let text = "[[vouch]]\nfor = \"trigger  public.users.touch\"\nbecause = \"sets a time\"\n\
        [[allow_function]]\nname = \"shop.place(bigint)\"\nbecause = \"orders\"\n\
        [[case]]\nname = \"no phone\"\nas = \"dev1\"\ngroups = [\"@a\"]\nquery = \"SELECT phone, id FROM users\"\nexpect = { phone = \"masked\", id = \"clear\" }\n\
        [[case]]\nname = \"no ssn\"\nquery = \"SELECT ssn FROM users\"\nexpect = \"denied\"\n";
    let policy = policy(text);
    assert!(policy.vouches("trigger public.users.touch"));
    assert!(!policy.vouches("trigger public.users.other"));
    assert_eq!(policy.allowed_functions(), ["shop.place(bigint)"]);
    let [phone, ssn] = policy.cases() else {
        panic!()
    };
    assert_eq!(phone.developer.as_deref(), Some("dev1"));
    assert!(phone.groups.contains("a"));
    assert_eq!(ssn.expect, Expect::Denied);
    assert_eq!(phone.origin.place, "policies/1.toml:7");
    for (before, after, expected) in [
        ("trigger  public", "public", "does not say what it is"),
        ("(bigint)", "", "has no list of types"),
        ("\"masked\"", "\"maskd\"", "did you mean `masked`?"),
        (
            "\"denied\"",
            "\"refused\"",
            "`refused` is not what can come back",
        ),
        (
            "\"no ssn\"",
            "\"no phone\"",
            "a case of this name stands at policies/1.toml:7 already",
        ),
        ("\"SELECT ssn FROM users\"", "\"\"", "a case needs a query"),
    ] {
        assert!(text.contains(before), "{before}");
        check_refused(&[&text.replacen(before, after, 1)], &[expected]);
    }
}

#[test]
fn a_budget_is_one_limit_each() {
    let policy = policy(
        "[class.card]\nnames = [\"card*\"]\nas = \"deny\"\n\
         [[budget]]\nwho = [\"dev1\", \"@support\"]\ntable = \"public.customers\"\nper = \"90min\"\n\
         rows = 0\nbytes = \"64MB\"\nrows_per_statement = \"unlimited\"\n\
         [[budget]]\nwho = [\"*\"]\ntogether = true\nclass = \"card\"\nsensitive = true\nstatements_per_second = 5\nburst = 50\n",
    );
    let customers = Scope {
        table: Some(("public".to_owned(), "customers".to_owned())),
        ..Scope::default()
    };
    let per = std::time::Duration::from_secs(5_400);
    let rate = Rate {
        per_second: 5.try_into().unwrap(),
        burst: 50.try_into().unwrap(),
    };
    let there: Vec<_> = policy
        .budgets()
        .iter()
        .map(|b| (b.bound, b.scope.clone(), b.together))
        .collect();
    let card = Scope {
        table: None,
        class: Some("card".to_owned()),
        sensitive: true,
    };
    assert_eq!(
        there,
        [
            (
                Bound::Window(Measure::Rows, per, Amount::AtMost(0)),
                customers.clone(),
                false
            ),
            (
                Bound::Window(Measure::Bytes, per, Amount::AtMost(64 << 20)),
                customers.clone(),
                false
            ),
            (Bound::RowsPerStatement(Amount::Unlimited), customers, false),
            (Bound::Rate(Some(rate)), card, true),
        ]
    );
    assert!(policy.in_class("card", "public", "payments", "card_number"));
    assert!(!policy.in_class("card", "public", "payments", "id"));
    assert!(!policy.in_class("cards", "public", "payments", "card_number"));
}

#[test]
fn a_wrong_budget_is_refused_with_its_line() {
    for (lines, expected) in [
        ("who = [\"*\"]", "1.toml:1:1: this budget limits nothing"),
        (
            "who = []\nconcurrent = 1",
            "1.toml:2:7: a budget is for somebody",
        ),
        (
            "who = [\"*x\"]\nconcurrent = 1",
            "neither a developer nor a group",
        ),
        (
            "who = [\"*\"]\nrows = 5",
            "1.toml:3:8: `rows` needs a window of time",
        ),
        (
            "who = [\"*\"]\nper = \"1h\"\nconcurrent = 2",
            "nothing here is counted per window",
        ),
        (
            "who = [\"*\"]\nper = \"0s\"\nrows = 2",
            "between 1s and 366d",
        ),
        (
            "who = [\"*\"]\nper = \"soon\"\nrows = 2",
            "`soon` is not a duration",
        ),
        (
            "who = [\"*\"]\nper = \"1h\"\nrows = -1",
            "1.toml:4:8: this is no amount",
        ),
        (
            "who = [\"*\"]\nper = \"1h\"\nrows = \"9MB\"",
            "\"unlimited\"",
        ),
        (
            "who = [\"*\"]\nper = \"1h\"\nbytes = \"9 mb\"",
            "a size such as",
        ),
        (
            "who = [\"*\"]\nburst = 3\nconcurrent = 1",
            "`burst` belongs to",
        ),
        (
            "who = [\"*\"]\nstatements_per_second = 0",
            "between 1 and 4294967295",
        ),
        (
            "who = [\"*\"]\nclass = \"crad\"\nconcurrent = 1",
            "there is no class `crad`\n",
        ),
        (
            "who = [\"*\"]\ntable = \"customers\"\nconcurrent = 1",
            "`customers` names no table",
        ),
        (
            "who = [\"*\"]\nsensitive = false\nconcurrent = 1",
            "leave this out",
        ),
        (
            "who = [\"dev1\"]\ntogether = true\nconcurrent = 1",
            "shared by one group",
        ),
        (
            "who = [\"@a\", \"@b\"]\ntogether = true\nconcurrent = 1",
            "shared by one group",
        ),
        (
            "who = [\"*\"]\nconcurrent = 1\n[[budget]]\nwho = [\"dev1\", \"*\"]\nconcurrent = 2",
            "`concurrent` is limited for the same people at policies/1.toml:1 already",
        ),
        ("who = [\"*\"]\nconcurent = 1", "did you mean `concurrent`"),
    ] {
        check_refused(
            &[
                &format!("[[budget]]\n{lines}\n"),
                "[class.card]\nnames = [\"c\"]\nas = \"deny\"\n",
            ],
            &[expected],
        );
    }
}

#[test]
fn defaults_are_tighter_the_more_real_the_data_is() {
    let limits = |stage| -> Vec<u64> {
        let budgets = Budget::defaults(stage);
        budgets
            .iter()
            .map(|budget| match budget.bound {
                Bound::Window(_, _, Amount::AtMost(limit)) => limit,
                other => panic!("{other:?}"),
            })
            .collect()
    };
    assert!(limits(Stage::Local).is_empty());
    let [test, preprod, prod] = [Stage::Test, Stage::Preprod, Stage::Prod].map(limits);
    assert!(test.iter().zip(&preprod).all(|(more, less)| more > less));
    assert!(preprod.iter().zip(&prod).all(|(more, less)| more > less));
}
