//! Amazon Bedrock: the host contains the region, the model is in the path, and requests are signed (Signature
//! Version 4) or carry an API key of Bedrock's as a bearer token. Models are called by Converse; Claude also
//! by InvokeModel, which takes Anthropic's own format.
//!
//! Settings: `region`; `inference_profile`, which is `auto` for the profile of the region's geography, or a
//! prefix such as `eu` or `global`. Without it, model ids are sent unchanged.

use std::borrow::Cow;
use std::collections::BTreeMap;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use canon::{Operation, Result, Target};
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};

use super::compatible::{misconfigured, post, secret_value};
use super::edit::{messages_of_a_cloud, only};
use super::segment::model_segment;
use super::{Auth, Call, Credential, Endpoint, NativeCall, is_host_label, native};
use crate::Protocol;

/// The service's name in signatures; its host is `bedrock-runtime`.
const SERVICE: &str = "bedrock";
/// The version of Anthropic's API that every Claude takes here.
const ANTHROPIC_VERSION: &str = "bedrock-2023-05-31";
const USUAL_REGION: &str = "us-east-1";
/// The host of most regions.
const USUAL_BASE: &str = "https://bedrock-runtime.{region}.amazonaws.com";

pub struct Bedrock;

impl Endpoint for Bedrock {
    fn request(&self, call: &Call<'_>) -> Result<http::Request<Bytes>> {
        let region = region(call)?;
        let model = profiled(call.model, call.setting("inference_profile"), &region);
        let is_native = call.protocol == Protocol::AnthropicMessages;
        let method = match (is_native, call.streaming) {
            (true, false) => "invoke",
            (true, true) => "invoke-with-response-stream",
            (false, false) => "converse",
            (false, true) => "converse-stream",
        };
        let url = format!("{}/model/{}/{method}", base_url(call, &region), model_segment(&model)?);
        if !is_native {
            return authorized(call, &url, &region);
        }
        // In a native request the values of the caller's headers are in the body.
        let body = messages_of_a_cloud(&call.body, ANTHROPIC_VERSION, &["model", "stream"], call.passed)?;
        authorized(&Call { body, passed: &[], ..call.clone() }, &url, &region)
    }

    fn operation_request(&self, call: &Call<'_>, _operation: Operation) -> Result<http::Request<Bytes>> {
        let region = region(call)?;
        let (base, model) =
            (base_url(call, &region), profiled(call.model, call.setting("inference_profile"), &region));
        let url = format!("{base}/model/{}/{}", model_segment(&model)?, call.path.unwrap_or_default());
        authorized(call, &url, &region)
    }

    fn native_request(&self, call: &Call<'_>, native: &NativeCall<'_>) -> Result<http::Request<Bytes>> {
        let region = region(call)?;
        let base = base_url(call, &region);
        let Credential::Aws { .. } = call.credential else {
            return native::request(&Call { auth: &Auth::Bearer, ..call.clone() }, native, &base);
        };
        let mut request = native::unauthorized(call, native, &base)?;
        sign_for_aws(&mut request, call.credential, SERVICE, &region, call.now)?;
        Ok(request)
    }

    /// "CountTokens" supports only Claude.
    fn counts_tokens(&self, protocol: Protocol, target: Target<'_>) -> bool {
        protocol == Protocol::BedrockConverse && foundation_model(target.model).starts_with("anthropic.")
    }

    fn count_request(&self, call: &Call<'_>) -> Result<http::Request<Bytes>> {
        const COUNTED: [&str; 4] = ["messages", "system", "toolConfig", "additionalModelRequestFields"];
        let region = region(call)?;
        let model = model_segment(foundation_model(call.model))?;
        let url = format!("{}/model/{model}/count-tokens", base_url(call, &region));
        let converse = only(&call.body, &COUNTED)?;
        let body = [b"{\"input\":{\"converse\":", &converse[..], b"}}"].concat().into();
        authorized(&Call { body, ..call.clone() }, &url, &region)
    }

    /// A cross-region profile leaves the region; that of an application, an ARN, does not say where it leads.
    fn region<'a>(&self, model: &'a str, settings: &'a BTreeMap<String, String>) -> Option<Cow<'a, str>> {
        let region = settings.get("region")?;
        let profile = settings.get("inference_profile").map(String::as_str);
        let model = profiled(model, profile, region);
        if model.starts_with("arn:") {
            return None;
        }
        match model.split_once('.') {
            Some((prefix, _)) if PARTS_OF_THE_WORLD.contains(&prefix) => Some(Cow::Owned(prefix.to_owned())),
            _ => Some(Cow::Borrowed(region.as_str())),
        }
    }

    /// Claude takes its own format by InvokeModel. The ARN of an application's profile does not reveal the
    /// model's maker.
    fn speaks(&self, protocol: Protocol, model: &str) -> bool {
        // The first generations used another API, and Converse.
        let is_claude = model.contains("anthropic.claude")
            && !["claude-v2", "claude-instant"].iter().any(|old| model.contains(old));
        protocol != Protocol::AnthropicMessages || is_claude
    }
}

/// The model's id, or that of the profile that the settings select.
fn profiled<'a>(model: &'a str, profile: Option<&str>, region: &str) -> Cow<'a, str> {
    match profile {
        Some("auto") => inference_profile(model, region),
        Some(prefix) if needs_profile(model) => Cow::Owned(format!("{prefix}.{model}")),
        _ => Cow::Borrowed(model),
    }
}

/// The prefixes of cross-region profiles: a request goes to any region of that part of the world.
const PARTS_OF_THE_WORLD: [&str; 8] = ["us", "us-gov", "eu", "apac", "jp", "au", "ca", "global"];

/// The model of an inference profile: counts take no profile. `eu.anthropic.claude…` becomes
/// `anthropic.claude…`.
fn foundation_model(model: &str) -> &str {
    match model.split_once('.') {
        Some((_, rest)) if rest.starts_with("anthropic.") => rest,
        _ => model,
    }
}

/// A POST of the call's body, signed or with its token.
fn authorized(call: &Call<'_>, url: &str, region: &str) -> Result<http::Request<Bytes>> {
    match call.credential {
        Credential::Aws { .. } => {
            let unsigned = Call { credential: &Credential::None, ..call.clone() };
            let mut request = post(&unsigned, url)?;
            sign_for_aws(&mut request, call.credential, SERVICE, region, call.now)?;
            Ok(request)
        }
        _ => post(&Call { auth: &Auth::Bearer, ..call.clone() }, url),
    }
}

/// The id of the cross-region profile of a model that can be called only through one ("Supported Regions and
/// models for inference profiles" in the user guide). Other ids, profiles and ARNs stay unchanged.
pub fn inference_profile<'a>(model: &'a str, region: &str) -> Cow<'a, str> {
    if !needs_profile(model) {
        return Cow::Borrowed(model);
    }
    let part_of_world = region.split('-').next().unwrap_or_default();
    let prefix = match part_of_world {
        "us" if region.starts_with("us-gov-") => "us-gov",
        "us" | "ca" => "us",
        "eu" => "eu",
        "ap" if is_recent_claude(model) => match region {
            "ap-northeast-1" | "ap-northeast-3" => "jp",
            "ap-southeast-2" | "ap-southeast-4" => "au",
            _ => "global",
        },
        "ap" => "apac",
        _ => "global",
    };
    Cow::Owned(format!("{prefix}.{model}"))
}

/// Families that are not offered on demand under their own ids.
fn needs_profile(model: &str) -> bool {
    const FAMILIES: [&str; 14] = [
        "anthropic.claude-3-5-haiku",
        "anthropic.claude-3-5-sonnet-20241022",
        "anthropic.claude-3-7",
        "anthropic.claude-haiku-",
        "anthropic.claude-sonnet-",
        "anthropic.claude-opus-",
        "anthropic.claude-fable-",
        "amazon.nova-premier",
        "amazon.nova-2",
        "deepseek.r1",
        "meta.llama3-2",
        "meta.llama3-3",
        "meta.llama4",
        "writer.palmyra-x",
    ];
    FAMILIES.iter().any(|family| model.starts_with(family))
}

/// Claude since 4.5 has profiles for Japan and Australia instead of one for all of Asia.
fn is_recent_claude(model: &str) -> bool {
    let is_older =
        ["-3-", "sonnet-4-2025", "opus-4-2025", "opus-4-1"].iter().any(|mark| model.contains(mark));
    model.starts_with("anthropic.claude-") && !is_older
}

/// The configured region, else the one in the base URL, else the default for an operator's own base URL.
fn region<'a>(call: &'a Call<'_>) -> Result<Cow<'a, str>> {
    let in_url = || {
        let (_, rest) = call.base_url.split_once("://bedrock-runtime.")?;
        rest.split('.').next().filter(|region| is_host_label(region))
    };
    match call.setting("region").or_else(in_url) {
        Some(region) if is_host_label(region) => Ok(Cow::Borrowed(region)),
        Some(region) => Err(misconfigured(format!("The region {region:?} is not the name of a region."))),
        None if !call.base_url.is_empty() && !call.base_url.contains("{region}") => {
            Ok(Cow::Borrowed(USUAL_REGION))
        }
        None => Err(misconfigured("No region is configured; set region, such as \"us-east-1\".")),
    }
}

fn base_url<'a>(call: &'a Call<'_>, region: &str) -> Cow<'a, str> {
    match call.base_url {
        base if base.is_empty() || base == USUAL_BASE => {
            let ending = if region.starts_with("cn-") { ".cn" } else { "" };
            Cow::Owned(format!("https://bedrock-runtime.{region}.amazonaws.com{ending}"))
        }
        base if base.contains("{region}") => Cow::Owned(base.replace("{region}", region)),
        base => Cow::Borrowed(base),
    }
}

/// Signs a request to a service of AWS: adds date, token and signature. Host and content type are signed;
/// headers that proxies change are not.
pub fn sign_for_aws(
    request: &mut http::Request<Bytes>,
    keys: &Credential,
    service: &str,
    region: &str,
    now: std::time::SystemTime,
) -> Result<()> {
    let failed = |_| misconfigured("The request could not be signed; check the AWS keys and the base URL.");
    let Credential::Aws { access_key_id, secret_access_key, session_token } = keys else {
        return Err(misconfigured("The request cannot be signed without keys of AWS."));
    };
    let token = session_token.as_ref().map(|token| token.expose().to_owned());
    let identity = Credentials::new(access_key_id, secret_access_key.expose(), token, None, "gateway").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|_| misconfigured("The AWS keys are not complete."))?
        .into();
    let url = request.uri().to_string();
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let signed = content_type.map(|content_type| (CONTENT_TYPE.as_str(), content_type)).into_iter();
    let (method, body) = (request.method().as_str(), SignableBody::Bytes(request.body()));
    let signable = SignableRequest::new(method, &url, signed, body).map_err(failed)?;
    let (instructions, _) = sign(signable, &params).map_err(failed)?.into_parts();
    for header in instructions.into_parts().0 {
        let value = if header.sensitive() || header.name() == "authorization" {
            secret_value(header.value().to_owned())?
        } else {
            HeaderValue::try_from(header.value())
                .map_err(|_| misconfigured("The signature does not fit into a header."))?
        };
        request.headers_mut().insert(HeaderName::from_static(header.name()), value);
    }
    Ok(())
}
