//! `[page]`.

use super::*;

#[test]
fn a_page_is_served_where_it_is_asked_for_and_on_loopback() {
    assert!(config(UPSTREAM).page.is_none());
    let page = config(&format!("[page]\n{UPSTREAM}")).page.unwrap();
    assert_eq!(page.listen.address.to_string(), "127.0.0.1:6480");
    let page = config(&format!(
        "[page]\naddress = \"[::1]:1\"\nnames = [\"a.example\"]\ncomparisons = \"c\"\n{UPSTREAM}"
    ));
    let page = page.page.unwrap();
    assert_eq!(page.names, ["a.example"]);
    assert_eq!(page.comparisons.as_deref(), Some(Path::new("c")));
    let open = "[page]\naddress = \"0.0.0.0:6480\"\n";
    check_refused(
        &format!("{open}{UPSTREAM}"),
        &[
            "f.toml:2:11: `0.0.0.0:6480` can be reached from other machines",
            "hint: set `tls",
        ],
    );
    let said = format!("{open}allow_plaintext_beyond_loopback = true\n{UPSTREAM}");
    assert!(config(&said).page.is_some());
    check_refused(
        &format!("[page]\nnames = [\"https://a.example:1\"]\n{UPSTREAM}"),
        &["f.toml:2:10: `https://a.example:1` is not the name of a host"],
    );
}
