//! How providers are called: URLs, headers, signatures.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use canon::Secret;
use http::{HeaderName, HeaderValue};
use serde_json::Value;
use wire::Protocol;
use wire::providers::{Auth, Call, CallStyle, Credential, UrlMatch, endpoint, inference_profile};

struct Case {
    base_url: String,
    protocol: Protocol,
    model: String,
    streaming: bool,
    body: String,
    credential: Credential,
    settings: BTreeMap<String, String>,
    passed: Vec<(HeaderName, HeaderValue)>,
    unix_time: u64,
}

impl Case {
    fn new(protocol: Protocol, model: &str, settings: &[(&str, &str)]) -> Self {
        Self {
            base_url: String::new(),
            protocol,
            model: model.to_owned(),
            streaming: false,
            body: format!(r#"{{"model":"{model}","n":1}}"#),
            credential: Credential::Key(Secret::new("KEY")),
            settings: settings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            passed: Vec::new(),
            unix_time: 0,
        }
    }

    fn at(mut self, base_url: &str) -> Self {
        self.base_url = base_url.to_owned();
        self
    }

    fn streamed(mut self) -> Self {
        self.streaming = true;
        self
    }

    fn send(&self, calling: CallStyle) -> canon::Result<http::Request<Bytes>> {
        endpoint(calling).request(&Call {
            base_url: &self.base_url,
            protocol: self.protocol,
            model: &self.model,
            streaming: self.streaming,
            body: Bytes::from(self.body.clone()),
            credential: &self.credential,
            auth: &Auth::Bearer,
            headers: &BTreeMap::new(),
            passed: &self.passed,
            path: None,
            settings: &self.settings,
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(self.unix_time),
        })
    }

    fn url(&self, calling: CallStyle) -> String {
        self.send(calling).unwrap().uri().to_string()
    }
}

fn header<'a>(request: &'a http::Request<Bytes>, name: &str) -> &'a str {
    request.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn aws(session_token: Option<&str>) -> Credential {
    Credential::Aws {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        session_token: session_token.map(Secret::new),
    }
}

#[test]
fn signatures_equal_those_of_botocore() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../fixtures/sigv4.json")).unwrap();
    assert!(vectors.len() >= 50);
    for vector in vectors {
        let text = |name: &str| vector[name].as_str().unwrap_or_default();
        let mut case = Case::new(Protocol::BedrockConverse, text("model"), &[("region", text("region"))])
            .at(text("base_url"));
        case.streaming = vector["streaming"].as_bool().unwrap();
        case.body = text("body").to_owned();
        case.credential = aws(vector["session_token"].as_str());
        case.unix_time = vector["unix_time"].as_u64().unwrap();
        let request = case.send(CallStyle::AwsBedrock).unwrap();
        assert_eq!(request.uri().to_string(), text("url"));
        assert_eq!(header(&request, "authorization"), text("authorization"), "{vector}");
        assert_eq!(header(&request, "x-amz-security-token"), text("session_token"));
        assert!(request.headers()["authorization"].is_sensitive());
    }
}

#[test]
fn signature_version_4_has_the_expected_value() {
    let mut case = Case::new(
        Protocol::BedrockConverse,
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        &[("region", "us-east-1")],
    );
    case.body = r#"{"messages":[{"role":"user","content":[{"text":"hi"}]}]}"#.to_owned();
    case.credential = aws(Some("SESSIONTOKEN"));
    case.unix_time = 1_767_323_045;
    let request = case.send(CallStyle::AwsBedrock).unwrap();
    assert_eq!(header(&request, "x-amz-date"), "20260102T030405Z");
    let authorization = header(&request, "authorization");
    assert!(authorization.contains("SignedHeaders=content-type;host;x-amz-date;x-amz-security-token"));
    assert!(
        authorization.ends_with("Signature=5bf7a2fca3561c0001ea71e3ba7dafd204e9a272c22ec52fb40d5adab5f47f22")
    );
}

#[test]
fn bedrock_is_called_by_region() {
    let case =
        |region: &str| Case::new(Protocol::BedrockConverse, "amazon.nova-pro-v1:0", &[("region", region)]);
    let request = case("eu-west-1").streamed().send(CallStyle::AwsBedrock).unwrap();
    let url = "https://bedrock-runtime.eu-west-1.amazonaws.com/model/amazon.nova-pro-v1%3A0/converse-stream";
    assert_eq!(request.uri().to_string(), url);
    assert_eq!(header(&request, "authorization"), "Bearer KEY");
    let chinese = case("cn-north-1").url(CallStyle::AwsBedrock);
    assert!(chinese.starts_with("https://bedrock-runtime.cn-north-1.amazonaws.com.cn/model/"));
    let own = case("eu-west-1").at("http://[::1]:9/x").url(CallStyle::AwsBedrock);
    assert_eq!(own, "http://[::1]:9/x/model/amazon.nova-pro-v1%3A0/converse");
    for bad in ["evil.example/", "a b", "-x", ""] {
        assert!(case(bad).send(CallStyle::AwsBedrock).is_err(), "{bad:?}");
    }
}

#[test]
fn inference_profiles_follow_the_geography_of_the_region() {
    let claude = "anthropic.claude-sonnet-4-5-20250929-v1:0";
    let cases = [
        (claude, "us-west-2", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        (claude, "eu-central-1", "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        (claude, "ap-northeast-1", "jp.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        (claude, "ap-southeast-1", "global.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("deepseek.r1-v1:0", "us-east-1", "us.deepseek.r1-v1:0"),
        (
            "anthropic.claude-3-7-sonnet-20250219-v1:0",
            "ap-south-1",
            "apac.anthropic.claude-3-7-sonnet-20250219-v1:0",
        ),
        ("us.anthropic.claude-opus-4-8", "eu-west-1", "us.anthropic.claude-opus-4-8"),
        ("openai.gpt-oss-120b-1:0", "us-east-1", "openai.gpt-oss-120b-1:0"),
    ];
    for (model, region, profile) in cases {
        assert_eq!(inference_profile(model, region), profile, "{model} in {region}");
    }
    let case = |profile: &str| {
        let settings = [("region", "us-east-1"), ("inference_profile", profile)];
        Case::new(Protocol::BedrockConverse, "deepseek.r1-v1:0", &settings).url(CallStyle::AwsBedrock)
    };
    assert!(case("auto").contains("/model/us.deepseek.r1-v1%3A0/"));
    assert!(case("global").contains("/model/global.deepseek.r1-v1%3A0/"));
    assert!(case("").contains("/model/deepseek.r1-v1%3A0/"));
}

#[test]
fn vertex_is_called_by_location_and_publisher() {
    let vertex = CallStyle::GoogleVertex;
    let case = |model: &str, region: &str| {
        Case::new(Protocol::Gemini, model, &[("project", "p"), ("region", region)])
    };
    let place = |region: &str| format!("v1/projects/p/locations/{region}");
    let cases = [
        (
            case("gemini-2.5-pro", "global"),
            "https://aiplatform.googleapis.com",
            "publishers/google/models/gemini-2.5-pro:generateContent",
        ),
        (
            case("gemini-2.5-pro", "eu").streamed(),
            "https://aiplatform.eu.rep.googleapis.com",
            "publishers/google/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
        ),
        (
            case("claude-opus-4-6", "us-east5"),
            "https://us-east5-aiplatform.googleapis.com",
            "publishers/anthropic/models/claude-opus-4-6:rawPredict",
        ),
        (
            case("claude-sonnet-4-5@20250929", "us-east5").streamed(),
            "https://us-east5-aiplatform.googleapis.com",
            "publishers/anthropic/models/claude-sonnet-4-5@20250929:streamRawPredict",
        ),
        (
            case("mistral-medium-3", "us-central1"),
            "https://us-central1-aiplatform.googleapis.com",
            "publishers/mistralai/models/mistral-medium-3:rawPredict",
        ),
        (
            case("meta/llama-4-maverick-17b-128e-instruct-maas", "us-east5"),
            "https://us-east5-aiplatform.googleapis.com",
            "endpoints/openapi/chat/completions",
        ),
        (
            case("1234567890", "us-east5"),
            "https://us-east5-aiplatform.googleapis.com",
            "endpoints/1234567890:generateContent",
        ),
        (
            case("gemini-2.5-pro", "global").at("http://127.0.0.1:9/v"),
            "http://127.0.0.1:9/v",
            "publishers/google/models/gemini-2.5-pro:generateContent",
        ),
    ];
    for (case, host, path) in cases {
        let want = format!("{host}/{}/{path}", place(&case.settings["region"]));
        assert_eq!(case.url(vertex), want);
    }
    let protocol = |model: &str| endpoint(vertex).protocol(Protocol::Gemini, model);
    assert_eq!(protocol("gemini-2.5-pro"), Protocol::Gemini);
    assert_eq!(protocol("claude-opus-4-6"), Protocol::AnthropicMessages);
    assert_eq!(protocol("openai/gpt-oss-120b-maas"), Protocol::OpenaiChat);
    assert!(case("gemini-2.5-pro", "evil.example/x").send(vertex).is_err());
    assert!(Case::new(Protocol::Gemini, "gemini-2.5-pro", &[]).send(vertex).is_err());
}

#[test]
fn claude_on_vertex_has_its_version_in_the_body() {
    let settings = [("project", "p"), ("region", "us-east5"), ("quota_project", "q")];
    let mut case = Case::new(Protocol::AnthropicMessages, "claude-opus-4-6", &settings);
    case.credential = Credential::Token(Secret::new("TOKEN"));
    let request = case.send(CallStyle::GoogleVertex).unwrap();
    assert_eq!(request.body(), r#"{"n":1,"anthropic_version":"vertex-2023-10-16"}"#);
    assert_eq!(header(&request, "authorization"), "Bearer TOKEN");
    assert_eq!(header(&request, "x-goog-user-project"), "q");
    case.body = r#"{"anthropic_version":"x"}"#.to_owned();
    assert_eq!(case.send(CallStyle::GoogleVertex).unwrap().body(), r#"{"anthropic_version":"x"}"#);
}

#[test]
fn claude_on_clouds_has_its_betas_in_the_body() {
    let passed = [
        (HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01")),
        (
            HeaderName::from_static("anthropic-beta"),
            HeaderValue::from_static("context-1m-2025-08-07,new-thing"),
        ),
    ];
    let settings = [("project", "p"), ("region", "us-east5")];
    for (style, model, url) in [
        (
            CallStyle::GoogleVertex,
            "claude-opus-4-6",
            "publishers/anthropic/models/claude-opus-4-6:streamRawPredict",
        ),
        (
            CallStyle::AwsBedrock,
            "us.anthropic.claude-opus-4-6-v1",
            "/model/us.anthropic.claude-opus-4-6-v1/invoke-with-response-stream",
        ),
    ] {
        let mut case = Case::new(Protocol::AnthropicMessages, model, &settings).streamed();
        case.passed = passed.to_vec();
        case.body = r#"{"model":"x","stream":true,"anthropic_beta":["mine","new-thing"],"a_new_field":1.0}"#
            .to_owned();
        let request = case.send(style).unwrap();
        let body: serde_json::Value = serde_json::from_slice(request.body()).unwrap();
        assert!(request.uri().to_string().ends_with(url), "{}", request.uri());
        assert_eq!(body["anthropic_beta"], serde_json::json!(["mine", "new-thing", "context-1m-2025-08-07"]));
        assert_eq!(body.get("model"), None);
        assert_eq!(body["a_new_field"].to_string(), "1.0");
        assert!(body["anthropic_version"].is_string());
        assert_eq!(body.get("stream").is_some(), style == CallStyle::GoogleVertex, "it is in the path");
        assert!(!request.headers().contains_key("anthropic-version"));
    }
    let mut whole = Case::new(Protocol::AnthropicMessages, "anthropic.claude-opus-4-6-v1", &settings);
    whole.body = "{}".to_owned();
    let request = whole.send(CallStyle::AwsBedrock).unwrap();
    assert!(request.uri().to_string().ends_with("/invoke"));
    assert_eq!(request.body(), r#"{"anthropic_version":"bedrock-2023-05-31"}"#);
}

#[test]
fn azure_is_called_by_resource_and_deployment() {
    let azure = CallStyle::Azure;
    let case = |settings: &[(&str, &str)]| Case::new(Protocol::OpenaiChat, "gpt-4.1", settings);
    let v1 = "https://r.openai.azure.com/openai/v1/chat/completions";
    assert_eq!(case(&[("resource", "r")]).url(azure), v1);
    assert_eq!(case(&[("resource", "r"), ("api_version", "v1")]).url(azure), v1);
    for base in [
        "https://r.openai.azure.com",
        "https://r.openai.azure.com/openai",
        "https://r.openai.azure.com/openai/v1",
    ] {
        assert_eq!(case(&[]).at(base).url(azure), v1);
    }
    let settings =
        [("resource", "r"), ("api_version", "2024-10-21"), ("deployments.gpt-4.1", "my deployment")];
    let request = case(&settings).send(azure).unwrap();
    let classic = "https://r.openai.azure.com/openai/deployments/my%20deployment/chat/completions?api-version=2024-10-21";
    assert_eq!(request.uri().to_string(), classic);
    assert_eq!(request.body(), r#"{"model":"my deployment","n":1}"#);
    assert_eq!((header(&request, "api-key"), header(&request, "authorization")), ("KEY", ""));
    let mut entra = case(&[("resource", "r")]);
    entra.credential = Credential::Token(Secret::new("TOKEN"));
    let request = entra.send(azure).unwrap();
    assert_eq!((header(&request, "api-key"), header(&request, "authorization")), ("", "Bearer TOKEN"));
    let serverless = case(&[]).at("https://m.eastus.models.ai.azure.com").send(azure).unwrap();
    assert_eq!(header(&serverless, "authorization"), "Bearer KEY");
    assert_eq!(serverless.uri().path(), "/v1/chat/completions");
    let claude = Case::new(Protocol::AnthropicMessages, "claude-opus-4-6", &[("resource", "r")]);
    let request = claude.send(azure).unwrap();
    assert_eq!(request.uri().to_string(), "https://r.services.ai.azure.com/anthropic/v1/messages");
    assert_eq!(header(&request, "anthropic-version"), "2023-06-01");
    assert!(case(&[]).send(azure).is_err());
    assert!(case(&[("resource", "evil.example/")]).send(azure).is_err());
}

/// Base URLs of the catalog's rows, with placeholders.
#[test]
fn templates_of_base_urls_are_filled() {
    let bedrock = |region: &str, base: &str| {
        let settings = [("region", region)];
        Case::new(Protocol::BedrockConverse, "m", &settings).at(base).url(CallStyle::AwsBedrock)
    };
    let usual = "https://bedrock-runtime.{region}.amazonaws.com";
    assert!(bedrock("eu-west-1", usual).starts_with("https://bedrock-runtime.eu-west-1.amazonaws.com/"));
    assert!(bedrock("cn-north-1", usual).starts_with("https://bedrock-runtime.cn-north-1.amazonaws.com.cn/"));
    assert!(bedrock("us-east-1", "https://b-{region}.x.test").starts_with("https://b-us-east-1.x.test/"));
    let vertex = |region: &str, base: &str| {
        let settings = [("project", "p"), ("region", region)];
        Case::new(Protocol::Gemini, "gemini-3-pro", &settings).at(base).url(CallStyle::GoogleVertex)
    };
    let usual = "https://{region}-aiplatform.googleapis.com";
    assert!(vertex("us-east5", usual).starts_with("https://us-east5-aiplatform.googleapis.com/v1/"));
    assert!(vertex("global", usual).starts_with("https://aiplatform.googleapis.com/v1/"));
    assert!(vertex("us-east5", "https://x.test/v1beta1").starts_with("https://x.test/v1beta1/projects/"));
    let azure = |protocol| {
        let settings = [("resource", "r")];
        Case::new(protocol, "m", &settings).at("https://{resource}.openai.azure.com").url(CallStyle::Azure)
    };
    assert!(azure(Protocol::OpenaiChat).starts_with("https://r.openai.azure.com/openai/v1/"));
    assert!(azure(Protocol::AnthropicMessages).starts_with("https://r.services.ai.azure.com/anthropic/v1/"));
}

#[test]
fn keys_of_aws_are_not_sent_as_an_api_key() {
    let mut case = Case::new(Protocol::OpenaiChat, "m", &[]).at("https://x.test/v1");
    case.credential = aws(None);
    assert!(case.send(CallStyle::Compatible).is_err());
}

/// The URL that is called for a base URL as the operator wrote it.
fn called(calling: CallStyle, protocol: Protocol, usual: Option<&str>, given: &str) -> String {
    let place = UrlMatch { calling, protocol, path: None, usual };
    let settings = [("project", "p"), ("region", "us-east-1")];
    let case = Case::new(protocol, "m", &settings).at(&place.base_url(given));
    case.send(calling).unwrap().uri().to_string()
}

#[test]
fn versions_in_base_urls_are_neither_doubled_nor_omitted() {
    use CallStyle::{AwsBedrock, Azure, Compatible, GoogleAiStudio, GoogleVertex};
    use Protocol::{AnthropicMessages, BedrockConverse, CohereChat, Gemini, OllamaChat, OpenaiChat};
    type Row<'a> = (CallStyle, Protocol, &'a [&'a str], &'a str);
    let rows: [Row<'_>; 8] = [
        (
            Compatible,
            OpenaiChat,
            &["", "/", "/v1", "/v1/", "/v1//", "/v1/chat/completions", "/v1/chat/completions/"],
            "/v1/chat/completions",
        ),
        (Compatible, AnthropicMessages, &["", "/v1", "/v1/", "/v1/messages"], "/v1/messages"),
        (Compatible, CohereChat, &["", "/v2", "/v1", "/v2/chat", "/v1/chat"], "/v2/chat"),
        (Compatible, OllamaChat, &["", "/api", "/v1", "/api/chat", "/v1/chat/completions"], "/api/chat"),
        (
            GoogleAiStudio,
            Gemini,
            &["", "/v1beta", "/v1beta/", "/v1beta/openai", "/v1beta/models"],
            "/v1beta/models/m:generateContent",
        ),
        (
            GoogleVertex,
            Gemini,
            &["", "/v1"],
            "/v1/projects/p/locations/us-east-1/publishers/google/models/m:generateContent",
        ),
        (AwsBedrock, BedrockConverse, &["", "/model"], "/model/m/converse"),
        (
            Azure,
            OpenaiChat,
            &["", "/", "/openai", "/openai/v1", "/openai/v1/", "/anthropic", "/openai/v1/chat/completions"],
            "/openai/v1/chat/completions",
        ),
    ];
    for host in ["https://host.test", "http://10.0.0.5:8000", "https://host.test/behind/a/proxy"] {
        for (calling, protocol, endings, path) in rows {
            for ending in endings {
                // Below a path, the operator has to give the version.
                if protocol == OpenaiChat
                    && calling == Compatible
                    && host.ends_with("proxy")
                    && !ending.contains("v1")
                {
                    continue;
                }
                let url = called(calling, protocol, None, &format!("{host}{ending}"));
                assert_eq!(url, format!("{host}{path}"), "{calling:?} {protocol:?} {host}{ending}");
            }
        }
    }
}

#[test]
fn a_host_alone_gets_the_path_of_the_providers_usual_address() {
    let called = |usual, given| called(CallStyle::Compatible, Protocol::OpenaiChat, Some(usual), given);
    let groq = "https://api.groq.test/openai/v1";
    assert_eq!(called(groq, "http://127.0.0.1:9"), "http://127.0.0.1:9/openai/v1/chat/completions");
    assert_eq!(called(groq, "http://127.0.0.1:9/v1"), "http://127.0.0.1:9/v1/chat/completions");
    let without = "https://api.perplexity.test";
    assert_eq!(called(without, "http://127.0.0.1:9"), "http://127.0.0.1:9/chat/completions");
}
