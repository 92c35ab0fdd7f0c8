//! Policies as they are written.

use limits::{OnExhausted, Policy, tags};

use crate::policy;

#[test]
fn a_policy_is_serialised_as_it_was_written() {
    let text = r#"{"models":["openai/*"],"budgets":[{"usd":"250","per":"month"},{"usd":"20","per":"day","on_exhausted":"downgrade:cheap"}],"limits":[{"requests":600,"per":"minute"},{"concurrent":40},{"requests":5,"per":"minute","model":"o3-*"}],"tags":{"team":"a"},"unpriced":"allow"}"#;
    let policy = policy(text);
    assert_eq!(policy.budgets[1].on_exhausted, OnExhausted::Downgrade("cheap".to_owned()));
    assert_eq!(serde_json::to_string(&policy).unwrap(), text);
    assert_eq!(serde_json::to_string(&Policy::default()).unwrap(), "{}");
}

#[test]
fn invalid_values_are_named() {
    for (text, place) in [
        (r#"{"models":[""]}"#, "models[0]"),
        (r#"{"budgets":[{"usd":"0","per":"day"}]}"#, "budgets[0].usd"),
        (r#"{"budgets":[{"usd":"5000000","per":"day"}]}"#, "budgets[0].usd"),
        (r#"{"budgets":[{"usd":"1","per":"day"},{"usd":"2","per":"day"}]}"#, "budgets[1]"),
        (r#"{"limits":[{}]}"#, "limits[0]"),
        (r#"{"limits":[{"requests":1}]}"#, "limits[0].per"),
        (r#"{"limits":[{"requests":0,"per":"day"}]}"#, "limits[0]"),
        (r#"{"limits":[{"concurrent":1,"per":"day"}]}"#, "limits[0].per"),
        (r#"{"limits":[{"requests":1,"tokens":1,"per":"day"}]}"#, "limits[0]"),
        (r#"{"tags":{"a b":"c"}}"#, "tags.a b"),
    ] {
        let policy: Policy = serde_json::from_str(text).unwrap();
        let paths: Vec<_> = policy.mistakes().into_iter().map(|mistake| mistake.path).collect();
        assert_eq!(paths, [place], "{text}");
    }
    for text in [
        r#"{"budgets":[{"usd":"-1","per":"day"}]}"#,
        r#"{"budgets":[{"usd":"1","per":"year"}]}"#,
        r#"{"budgets":[{"usd":"1","per":"day","on_exhausted":"downgrade:"}]}"#,
        r#"{"limits":[{"requests":-1,"per":"day"}]}"#,
    ] {
        serde_json::from_str::<Policy>(text).unwrap_err();
    }
}

#[test]
fn tags_of_the_request_replace_those_of_the_policy() {
    let project = policy(r#"{"tags":{"team":"a","env":"test"}}"#).tags;
    let key = policy(r#"{"tags":{"env":"prod"}}"#).tags;
    let all = tags([&project, &key].into_iter(), Some(" run = 7 , team=b,")).unwrap();
    let shown: Vec<String> = all.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(shown, ["env=prod", "run=7", "team=b"]);
    for wrong in ["a", "=b", "a=", "a b=c", &"x=y".repeat(100), "a=\u{7}"] {
        tags([].into_iter(), Some(wrong)).unwrap_err();
    }
    let many: Vec<String> = (0..17).map(|number| format!("t{number}=x")).collect();
    tags([].into_iter(), Some(&many.join(","))).unwrap_err();
}
