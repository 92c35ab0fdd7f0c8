//! Multipart forms as JSON: a text is a text, a list of texts is a list, and a file is its name, type and
//! length.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Map, Value, json};

/// Reads a form; none where the content type is another one, or the body is not a form.
pub fn read(headers: &HeaderMap, body: &[u8]) -> Option<Value> {
    let mut fields = Map::new();
    parts(headers, body, |head, value| add(&mut fields, head, value))?;
    Some(Value::Object(fields))
}

/// The content of the first file of a form.
pub fn file(headers: &HeaderMap, body: &[u8]) -> Option<Bytes> {
    let mut found = None;
    parts(headers, body, |head, value| {
        if found.is_none() && parameter(head, "filename=").is_some() {
            found = Some(Bytes::copy_from_slice(value));
        }
    })?;
    found
}

/// Gives the head and the value of each part.
fn parts(headers: &HeaderMap, body: &[u8], mut each: impl FnMut(&str, &[u8])) -> Option<()> {
    let kind = headers.get("content-type")?.to_str().ok()?;
    let boundary = kind.strip_prefix("multipart/form-data")?.split_once("boundary=")?.1;
    let boundary = boundary.split(';').next()?.trim().trim_matches('"');
    let line = format!("--{boundary}");
    let mut rest = body.get(find(body, line.as_bytes())? + line.len()..)?;
    while let Some(part) = rest.strip_prefix(b"\r\n") {
        let head_end = find(part, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&part[..head_end]).into_owned();
        let value = &part[head_end + 4..];
        let end = find(value, format!("\r\n{line}").as_bytes())?;
        each(&head, &value[..end]);
        rest = &value[end + 2 + line.len()..];
    }
    rest.starts_with(b"--").then_some(())
}

fn add(fields: &mut Map<String, Value>, head: &str, value: &[u8]) {
    let name = parameter(head, " name=").unwrap_or_default();
    let value = match parameter(head, "filename=") {
        Some(file) => {
            let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-type:"));
            let kind = line.and_then(|line| line.split_once(':')).map_or("", |(_, kind)| kind.trim());
            json!({"filename": file, "content_type": kind, "bytes": value.len()})
        }
        None => match String::from_utf8_lossy(value).as_ref() {
            "true" => json!(true),
            "false" => json!(false),
            text if ["n", "partial_images"].contains(&name.as_str()) => {
                text.parse::<u64>().map_or(json!(text), Value::from)
            }
            text => json!(text),
        },
    };
    match name.strip_suffix("[]") {
        Some(list) => {
            let list = fields.entry(list).or_insert_with(|| json!([]));
            if let Value::Array(list) = list {
                list.push(value);
            }
        }
        None => drop(fields.insert(name, value)),
    }
}

fn parameter(head: &str, name: &str) -> Option<String> {
    let (_, rest) = head.split_once(name)?;
    Some(match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?.to_owned(),
        None => rest.split([';', '\r']).next()?.to_owned(),
    })
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_part_by_part() {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "multipart/form-data; boundary=b".parse().unwrap());
        let body = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n\
            --b\r\nContent-Disposition: form-data; name=\"include[]\"\r\n\r\na\r\n\
            --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n--b--\r\n";
        let expected = json!({
            "model": "m", "include": ["a"],
            "file": {"filename": "a.wav", "content_type": "audio/wav", "bytes": 4}
        });
        assert_eq!(read(&headers, body.as_bytes()), Some(expected));
        assert_eq!(read(&headers, b"--b\r\nx"), None);
        assert_eq!(file(&headers, body.as_bytes()).as_deref(), Some(&b"RIFF"[..]));
    }
}
