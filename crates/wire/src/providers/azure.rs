//! Azure OpenAI and Microsoft Foundry: the host belongs to the resource, and deployments replace models.
//! Facts: "Azure OpenAI in Microsoft Foundry Models v1 API" on learn.microsoft.com.
//!
//! Settings: `resource`, the name of the resource, unless there is a base URL; `api_version`, which is `v1`
//! (the default) or a date for the classic paths; `deployments.MODEL`, the deployment of a model, where its
//! name differs.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use canon::{Operation, Result, Target};

use super::compatible::{counted_by_messages, misconfigured, post, usual_path};
use super::edit::edit;
use super::segment::{escape_segment, model_segment};
use super::{Auth, Call, Endpoint, NativeCall, is_host_label, native};
use crate::Protocol;

const USUAL_BASE: &str = "https://{resource}.openai.azure.com";

pub struct Azure;

impl Endpoint for Azure {
    fn protocol(&self, usual: Protocol, model: &str) -> Protocol {
        if model.starts_with("claude") { Protocol::AnthropicMessages } else { usual }
    }

    fn request(&self, call: &Call<'_>) -> Result<http::Request<Bytes>> {
        let deployment = deployment(call);
        let url = url(call, deployment)?;
        to_deployment(call, deployment, &url)
    }

    fn operation_request(&self, call: &Call<'_>, _operation: Operation) -> Result<http::Request<Bytes>> {
        let deployment = deployment(call);
        let base = base_url(call)?;
        let url = url_of(call, trimmed(&base), deployment, call.path.unwrap_or_default())?;
        to_deployment(call, deployment, &url)
    }

    fn name_in_body<'a>(&self, model: &'a str, settings: &'a BTreeMap<String, String>) -> &'a str {
        let deployment = settings.get(&format!("deployments.{model}"));
        deployment.map(|name| name.trim()).filter(|name| !name.is_empty()).unwrap_or(model)
    }

    fn native_request(&self, call: &Call<'_>, native: &NativeCall<'_>) -> Result<http::Request<Bytes>> {
        let is_claude = native.path.starts_with("/anthropic/");
        let protocol = if is_claude { Protocol::AnthropicMessages } else { Protocol::OpenaiChat };
        let call = Call { protocol, ..call.clone() };
        let base = base_url(&call)?;
        let auth = auth(&base);
        let root = trimmed(&base);
        let root = if native.below_base { format!("{root}/openai/v1") } else { root.to_owned() };
        native::request(&Call { auth: &auth, ..call.clone() }, native, &root)
    }

    fn model_named<'a>(&self, name: &'a str, settings: &'a BTreeMap<String, String>) -> &'a str {
        let mut deployments = settings.iter().filter(|(_, deployment)| deployment.trim() == name);
        deployments.find_map(|(setting, _)| setting.strip_prefix("deployments.")).unwrap_or(name)
    }

    fn counts_tokens(&self, protocol: Protocol, _target: Target<'_>) -> bool {
        protocol == Protocol::AnthropicMessages
    }

    fn count_request(&self, call: &Call<'_>) -> Result<http::Request<Bytes>> {
        let deployment = deployment(call);
        let url = format!("{}/count_tokens", url(call, deployment)?);
        let body = counted_by_messages(&call.body)?;
        to_deployment(&Call { body, ..call.clone() }, deployment, &url)
    }
}

/// The name that replaces the model.
fn deployment<'a>(call: &'a Call<'_>) -> &'a str {
    call.setting(&format!("deployments.{}", call.model)).unwrap_or(call.model)
}

fn to_deployment(call: &Call<'_>, deployment: &str, url: &str) -> Result<http::Request<Bytes>> {
    // A form already contains the deployment.
    let is_json = call.passed.iter().all(|(name, _)| name != http::header::CONTENT_TYPE);
    let body = if deployment == call.model || !is_json {
        call.body.clone()
    } else {
        edit(&call.body, &[], &[("model", deployment)])?
    };
    let mut headers: BTreeMap<String, String> = call.headers.clone();
    if call.protocol == Protocol::AnthropicMessages {
        headers.entry("anthropic-version".to_owned()).or_insert_with(|| "2023-06-01".to_owned());
    }
    let auth = auth(url);
    post(&Call { body, auth: &auth, headers: &headers, ..call.clone() }, url)
}

fn url(call: &Call<'_>, deployment: &str) -> Result<String> {
    let base = base_url(call)?;
    let base = trimmed(&base);
    if call.protocol == Protocol::AnthropicMessages {
        let base = base.strip_suffix("/anthropic").unwrap_or(base);
        return Ok(format!("{base}/anthropic/v1/messages"));
    }
    if let Some(path) = call.path {
        return Ok(format!("{base}{path}"));
    }
    let version = call.setting("api_version").unwrap_or("v1");
    if call.protocol == Protocol::OpenaiResponses && !is_serverless(base) {
        // The classic paths serve this format under the resource, not under a deployment.
        return Ok(match version {
            "v1" | "latest" => format!("{base}/openai/v1/responses"),
            "preview" => format!("{base}/openai/v1/responses?api-version=preview"),
            dated => format!("{base}/openai/responses?api-version={}", escape_segment(dated)),
        });
    }
    url_of(call, base, deployment, usual_path(call.protocol))
}

/// The base URL without the suffixes that clients of either generation of paths append.
fn trimmed(base: &str) -> &str {
    base.strip_suffix("/openai/v1").or_else(|| base.strip_suffix("/openai")).unwrap_or(base)
}

/// The URL of a method that the classic paths have for each deployment.
fn url_of(call: &Call<'_>, base: &str, deployment: &str, method: &str) -> Result<String> {
    if is_serverless(base) {
        return Ok(format!("{}/v1{method}", base.strip_suffix("/v1").unwrap_or(base)));
    }
    Ok(match call.setting("api_version").unwrap_or("v1") {
        "v1" | "latest" => format!("{base}/openai/v1{method}"),
        "preview" => format!("{base}/openai/v1{method}?api-version=preview"),
        dated => {
            let (deployment, dated) = (model_segment(deployment)?, escape_segment(dated));
            format!("{base}/openai/deployments/{deployment}{method}?api-version={dated}")
        }
    })
}

fn base_url<'a>(call: &'a Call<'_>) -> Result<Cow<'a, str>> {
    let template = if call.base_url.is_empty() { USUAL_BASE } else { call.base_url };
    let base = if template.contains("{resource}") {
        Cow::Owned(template.replace("{resource}", resource(call)?))
    } else {
        Cow::Borrowed(call.base_url)
    };
    // A resource has several hosts; Claude answers at this one only.
    Ok(match call.protocol {
        Protocol::AnthropicMessages => {
            Cow::Owned(base.replace(".openai.azure.com", ".services.ai.azure.com"))
        }
        _ => base,
    })
}

fn resource<'a>(call: &'a Call<'_>) -> Result<&'a str> {
    let resource = call.setting("resource").ok_or_else(|| {
        misconfigured("No resource is configured; set resource, or base_url to its endpoint.")
    })?;
    if is_host_label(resource) {
        Ok(resource)
    } else {
        Err(misconfigured(format!("The resource {resource:?} is not the name of a resource.")))
    }
}

/// Keys of resources have a header of their own; serverless hosts take them as bearer tokens.
fn auth(url: &str) -> Auth {
    if is_serverless(url) { Auth::Bearer } else { Auth::Header("api-key".to_owned()) }
}

/// A host that serves one model, without a resource.
fn is_serverless(url: &str) -> bool {
    let host = url.split("://").nth(1).and_then(|rest| rest.split('/').next());
    host.is_some_and(|host| host.ends_with(".models.ai.azure.com"))
}
