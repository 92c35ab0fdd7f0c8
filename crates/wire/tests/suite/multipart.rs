//! Forms with files: any content of the parts, and any division of the bytes into pieces.

use bytes::Bytes;
use canon::{ErrorKind, Operation};
use proptest::prelude::*;
use wire::endpoints::{EndpointFacts, EndpointTarget, OperationRows, ProviderRequest, read_form};
use wire::multipart::{Boundary, Form};

const BOUNDARY: &str = "----formdata-undici-0123456789";

#[derive(Clone, Debug)]
struct TestPart {
    name: String,
    file_name: Option<String>,
    content_type: Option<&'static str>,
    value: Vec<u8>,
}

fn form_of(boundary: &str, parts: &[TestPart]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        let name = &part.name;
        out.extend_from_slice(
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"").as_bytes(),
        );
        if let Some(file) = &part.file_name {
            out.extend_from_slice(format!("; filename=\"{file}\"").as_bytes());
        }
        if let Some(kind) = part.content_type {
            out.extend_from_slice(format!("\r\nContent-Type: {kind}").as_bytes());
        }
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(&part.value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    out
}

fn field(name: &str, value: &str) -> TestPart {
    TestPart { name: name.to_owned(), file_name: None, content_type: None, value: value.as_bytes().to_vec() }
}

fn file(name: &str, value: &[u8]) -> TestPart {
    TestPart {
        name: name.to_owned(),
        file_name: Some("talk \u{e9}.wav".to_owned()),
        content_type: Some("audio/wav"),
        value: value.to_vec(),
    }
}

fn boundary(text: &str) -> Boundary {
    Boundary::of(&format!("multipart/form-data; boundary=\"{text}\"")).unwrap()
}

fn read(text: &str, bytes: &[u8]) -> canon::Result<Form> {
    let mut form = Form::new(boundary(text));
    form.push(bytes)?;
    form.finish()?;
    Ok(form)
}

fn parts_of(form: &Form) -> Vec<TestPart> {
    let part = |part: &wire::multipart::FormPart| TestPart {
        name: part.head.name.clone(),
        file_name: part.head.file_name.clone(),
        content_type: None,
        value: form.value(part).to_vec(),
    };
    form.parts().iter().map(part).collect()
}

fn written(operation: Operation, model: &str, form: Form) -> canon::Result<ProviderRequest> {
    let rows = OperationRows::usual(wire::Protocol::OpenaiChat);
    let facts = EndpointFacts::default();
    read_form(operation, form)?.write(EndpointTarget { model, facts: &facts, rows: &rows })
}

fn a_part() -> impl Strategy<Value = TestPart> {
    let name = prop_oneof!["[a-z_]{1,12}", "[a-z]{1,6}\\[\\]", Just("gr\u{fc}\u{df}e".to_owned())];
    let file_name = proptest::option::of("[ -!#-\\[\\]-~]{0,20}");
    let kind = proptest::option::of(Just("application/octet-stream"));
    // Bytes that resemble a boundary, or any others.
    let near = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..60),
        proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'b')], 0..40),
    ];
    (name, file_name, kind, near).prop_map(|(name, file_name, content_type, value)| TestPart {
        name,
        file_name,
        content_type,
        value,
    })
}

proptest! {
    #![proptest_config(testkit::random::cases(200))]

    #[test]
    fn parts_are_read_as_they_were_written(
        parts in proptest::collection::vec(a_part(), 1..6),
        text in "[a-zA-Z0-9'()+_,./:=?-]{1,69}[a-zA-Z0-9]",
        cuts in proptest::collection::vec(0_usize..400, 0..8),
    ) {
        let delimiter = format!("\r\n--{text}");
        let holds = |value: &[u8]| [b"\r\n", value, b"\r\n"].concat().windows(delimiter.len()).any(|at| at == delimiter.as_bytes());
        prop_assume!(!parts.iter().any(|part| holds(&part.value)));
        let bytes = form_of(&text, &parts);
        let whole = read(&text, &bytes).unwrap();
        let expected: Vec<_> = parts.iter().map(|part| (part.name.clone(), part.file_name.clone(), part.value.clone())).collect();
        let found: Vec<_> = parts_of(&whole).into_iter().map(|part| (part.name, part.file_name, part.value)).collect();
        prop_assert_eq!(&found, &expected);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let mut form = Form::new(boundary(&text));
        for pair in cuts.windows(2) {
            form.push(&bytes[pair[0]..pair[1]]).unwrap();
        }
        form.finish().unwrap();
        let found: Vec<_> = parts_of(&form).into_iter().map(|part| (part.name, part.file_name, part.value)).collect();
        prop_assert_eq!(&found, &expected);
        let again = form.rewritten(|part, _, writer| { form.keep(part, writer); Ok(()) }).unwrap();
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0_usize..300) {
        let text = [b"--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n", &bytes[..]].concat();
        crate::checks::form(&text);
        crate::checks::form(&[&text[..], b"\r\n--b--"].concat());
        let at = at.min(text.len());
        let mut form = Form::new(boundary("b"));
        let pushed = form.push(&text[..at]).and_then(|()| form.push(&text[at..]));
        if pushed.is_ok() {
            let _ = form.finish();
            let _ = form.rewritten(|part, _, writer| { form.keep(part, writer); Ok(()) });
        }
    }
}

#[test]
fn a_form_is_forwarded_the_same_for_every_split() {
    let audio = [b"RIFF\r\n--", &BOUNDARY.as_bytes()[..9], b"\r\n\x00\xff\r\n-"].concat();
    let parts =
        [field("model", "whisper-1"), field("language", "de"), file("file", &audio), field("prompt", "")];
    let bytes = form_of(BOUNDARY, &parts);
    let whole = written(Operation::Transcriptions, "other", read(BOUNDARY, &bytes).unwrap()).unwrap();
    for at in 0..=bytes.len() {
        let mut form = Form::new(boundary(BOUNDARY));
        form.push(&bytes[..at]).unwrap();
        let may_pass = form.is_in_file() && form.field("model").is_some();
        if !may_pass {
            continue;
        }
        let mut rest = form.rest();
        let request = written(Operation::Transcriptions, "other", form).unwrap();
        assert!(request.parts[0].goes_on);
        rest.push(&bytes[at..]).unwrap();
        rest.finish().unwrap();
        let sent = [&request.parts[0].body[..], &bytes[at..]].concat();
        assert!(sent == whole.parts[0].body, "cut at {at}");
    }
    let text = String::from_utf8_lossy(&whole.parts[0].body).into_owned();
    assert!(text.contains("name=\"model\"\r\n\r\nother\r\n"), "{text}");
}

#[test]
fn damaged_forms_are_read_the_same_for_every_cut() {
    let parts =
        [field("model", "m"), field("language", "de"), file("file", b"RIFF\r\n--\r\n--b-\r\n--bb\r\n")];
    let bytes = form_of("b", &parts);
    crate::checks::form(&bytes);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x20;
        crate::checks::form(&damaged);
        damaged.remove(at);
        crate::checks::form(&damaged);
        crate::checks::form(&bytes[..at]);
    }
}

#[test]
fn fields_for_the_gateway_are_left_out_of_the_forwarded_form() {
    let parts = [
        field("provider", "{\"order\": [\"openai\"]}"),
        field("model", "m"),
        field("models", "[\"n\"]"),
        field("timestamp_granularities[]", "word"),
        field("timestamp_granularities[]", "segment"),
        field("routing", "cost"),
        file("file", b"x"),
    ];
    let form = read("b", &form_of("b", &parts)).unwrap();
    let request = read_form(Operation::Transcriptions, form).unwrap();
    let fields = request.facts().routing_fields;
    assert_eq!(fields.models, Some(&b"[\"n\"]"[..]));
    assert_eq!(fields.provider, Some(&b"{\"order\": [\"openai\"]}"[..]));
    assert_eq!(fields.routing().as_deref(), Some("cost"));
    let form = read("b", &form_of("b", &parts)).unwrap();
    let sent = written(Operation::Transcriptions, "m", form).unwrap();
    let names: Vec<_> =
        parts_of(&read("b", &sent.parts[0].body).unwrap()).into_iter().map(|part| part.name).collect();
    assert_eq!(names, ["model", "timestamp_granularities[]", "timestamp_granularities[]", "file"]);
    let kind = sent.parts[0].headers.iter().find(|(name, _)| name == "content-type").unwrap();
    assert_eq!(kind.1, "multipart/form-data; boundary=b");
}

#[test]
fn invalid_forms_are_refused_with_a_reason() {
    let good = form_of("b", &[field("model", "m"), file("file", b"x")]);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), "no part"),
        (b"{\"model\": \"m\"}".to_vec(), "no part"),
        (text(&good).replace("--b", "--c").into_bytes(), "no part"),
        (good[..good.len() - 6].to_vec(), "ends before its last boundary"),
        (text(&good).replace("; name=\"model\"", "").into_bytes(), "no name"),
        (text(&good).replace("Content-Disposition", "X-Other").into_bytes(), "Content-Disposition"),
        (text(&good).replace("audio/wav", &"a".repeat(20_000)).into_bytes(), "longer than 16384"),
        (vec![b'x'; 70_000], "does not begin with the boundary"),
        (form_of("b", &vec![field("a", "b"); 257]), "256 parts"),
    ];
    for (bytes, words) in cases {
        let error = read("b", &bytes).map(|_| ()).unwrap_err();
        assert!(error.message.contains(words), "{words}: {}", error.message);
        assert_eq!(error.kind, ErrorKind::InvalidRequest);
    }
    let large = form_of("b", &[field("prompt", &"x".repeat(5 << 20))]);
    let error = read("b", &large).unwrap_err();
    assert_eq!((error.kind, error.param.unwrap().to_string()), (ErrorKind::TooLarge, "prompt".to_owned()));
    for kind in
        ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\"a\u{e9}\""]
    {
        assert!(Boundary::of(kind).unwrap_err().message.contains("boundary"), "{kind}");
    }
    assert!(Boundary::of(&format!("multipart/form-data; boundary={}", "x".repeat(71))).is_err());
    let quoted = Boundary::of("multipart/form-data; charset=utf-8; boundary=\"a b:c\"").unwrap();
    assert_eq!(quoted.as_str(), "a b:c");
    assert_eq!(quoted.content_type(), "multipart/form-data; boundary=\"a b:c\"");
}

#[test]
fn invalid_form_fields_are_named_in_the_error() {
    let cases: Vec<(Vec<TestPart>, &str, &str)> = vec![
        (vec![file("file", b"x")], "model", "missing"),
        (vec![field("model", " "), file("file", b"x")], "model", "missing"),
        (vec![field("model", "m")], "file", "missing"),
        (vec![field("model", "m"), file("file", b"")], "file", "empty"),
        (vec![field("model", "m"), field("model", "n"), file("file", b"x")], "model", "twice"),
        (vec![field("model", "m"), file("file", b"x"), file("file", b"y")], "file", "twice"),
        (vec![field("model", &"m".repeat(513)), file("file", b"x")], "model", "512"),
        (vec![field("model", "m"), field("provider", "openai"), file("file", b"x")], "provider", "JSON"),
    ];
    for (parts, param, words) in cases {
        let form = read("b", &form_of("b", &parts)).unwrap();
        let error = read_form(Operation::Transcriptions, form).map(|_| ()).unwrap_err();
        assert_eq!(error.param.as_ref().unwrap().to_string(), param);
        assert!(error.message.contains(words), "{}", error.message);
    }
    let form = read("b", &form_of("b", &[field("model", "m"), field("prompt", "p")])).unwrap();
    let error = read_form(Operation::ImageEdits, form).map(|_| ()).unwrap_err();
    assert_eq!(error.param.unwrap().to_string(), "image");
}

#[test]
fn fields_after_a_forwarded_file_cannot_change_the_routing() {
    for (name, is_fine) in [("language", true), ("model", false), ("provider", false), ("models", false)] {
        let parts = [field("model", "m"), file("file", &[b'x'; 100]), field(name, "{}")];
        let bytes = form_of("b", &parts);
        let mut form = Form::new(boundary("b"));
        form.push(&bytes[..200]).unwrap();
        assert!(form.is_in_file());
        assert_eq!(form.rest().push(&bytes[200..]).is_ok(), is_fine, "{name}");
    }
}

#[test]
fn lists_have_no_brackets_where_the_provider_takes_plain_names() {
    let parts = [field("model", "m"), field("timestamp_granularities[]", "word"), file("file", b"x")];
    let mut rows = OperationRows::usual(wire::Protocol::OpenaiChat);
    rows.transcriptions.as_mut().unwrap().plain_lists = true;
    let facts = EndpointFacts::default();
    let form = read("b", &form_of("b", &parts)).unwrap();
    let request = read_form(Operation::Transcriptions, form).unwrap();
    let sent = request.write(EndpointTarget { model: "m", facts: &facts, rows: &rows }).unwrap();
    let body: Bytes = sent.parts[0].body.clone();
    let names: Vec<_> = parts_of(&read("b", &body).unwrap()).into_iter().map(|part| part.name).collect();
    assert_eq!(names, ["model", "timestamp_granularities", "file"]);
}
