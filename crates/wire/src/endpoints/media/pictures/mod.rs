//! Images at providers whose format is not OpenAI's. The request is read from a JSON body or a form, and
//! written in the provider's format.

mod answer;
mod background;
mod write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use canon::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::intake::{Intake, ROUTING_FIELDS};
use crate::multipart::Form;
use crate::protocols::media_types::data_url;

pub use answer::PicturesReader;
pub use background::BackgroundReader;

/// The maximum number of images per request, as at OpenAI.
const MOST: u64 = 10;

/// The request.
#[derive(Clone, Debug, Default)]
pub struct PictureRequest {
    pub prompt: String,
    /// The number of images.
    pub count: u64,
    /// The size as the caller wrote it.
    pub size: Option<String>,
    /// `url` or `b64_json`.
    pub response_format: Option<String>,
    /// The caller requested a stream.
    pub stream: bool,
    /// The images to start from.
    pub images: Vec<Picture>,
    /// The mask: the area that may be changed.
    pub mask: Option<Picture>,
    /// All other fields.
    pub more: Map<String, Value>,
}

/// An image of the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Picture {
    /// Inline bytes.
    Bytes {
        /// `image/png`
        media_type: String,
        /// The bytes in base64.
        base64: String,
    },
    /// A web address.
    Address(String),
}

/// Fields that are members of [`PictureRequest`].
const KNOWN: [&str; 9] =
    ["model", "prompt", "n", "size", "response_format", "stream", "images", "image", "mask"];

/// An image in a JSON body, in any of the forms that clients use.
#[derive(Deserialize)]
#[serde(untagged)]
enum JsonImage {
    Url(String),
    Object {
        #[serde(default)]
        url: Option<String>,
        #[serde(default)]
        image_url: Option<Box<JsonImage>>,
        #[serde(default)]
        file_id: Option<Value>,
    },
}

impl JsonImage {
    fn picture(self, param: &str) -> Result<Picture> {
        match self {
            Self::Url(url) => Picture::of_url(url, param),
            Self::Object { file_id: Some(_), .. } => {
                let message =
                    "The provider cannot read files of other providers; give the image as a data URI.";
                Err(Error::unsupported(format!("{param}.file_id"), message))
            }
            Self::Object { image_url: Some(inner), .. } => inner.picture(&format!("{param}.image_url")),
            Self::Object { url: Some(url), .. } => Picture::of_url(url, param),
            Self::Object { .. } => {
                Err(Error::invalid(param.to_owned(), format!("{param} does not name an image.")))
            }
        }
    }
}

impl PictureRequest {
    /// Reads a JSON body.
    pub fn of_json(intake: &Intake) -> Result<Self> {
        let text = |name: &str| intake.string(name).map(|text| text.into_owned());
        let mut wanted = Self {
            prompt: text("prompt").unwrap_or_default(),
            count: count(intake.whole("n").unwrap_or(1))?,
            size: text("size"),
            response_format: text("response_format"),
            stream: intake.form.stream,
            ..Self::default()
        };
        for name in ["images", "image"] {
            let Some(raw) = intake.non_null(name) else { continue };
            let is_list = raw.starts_with(b"[");
            let images = if is_list {
                serde_json::from_slice::<Vec<JsonImage>>(raw)
            } else {
                serde_json::from_slice::<JsonImage>(raw).map(|one| vec![one])
            };
            let images = images.map_err(|_| {
                Error::invalid(name, format!("{name} must have image_url in each of its images."))
            })?;
            for (index, given) in images.into_iter().enumerate() {
                let param = if is_list { format!("{name}[{index}]") } else { name.to_owned() };
                wanted.images.push(given.picture(&param)?);
            }
        }
        if let Some(mask) = intake.non_null("mask") {
            let given = serde_json::from_slice::<JsonImage>(mask);
            let given = given.map_err(|_| Error::invalid("mask", "mask must have image_url."))?;
            wanted.mask = Some(given.picture("mask")?);
        }
        for (name, raw) in intake.fields() {
            if !KNOWN.contains(&name) && !ROUTING_FIELDS.contains(&name) && raw != b"null" {
                let value = serde_json::from_slice(raw).unwrap_or_default();
                wanted.more.insert(name.to_owned(), value);
            }
        }
        Ok(wanted)
    }

    /// Reads a whole form.
    pub fn of_form(form: &Form) -> Result<Self> {
        let text = |name: &str| -> Result<Option<String>> {
            let text = form.text(name)?.map(str::trim).filter(|text| !text.is_empty());
            Ok(text.map(str::to_owned))
        };
        let number = |text: Option<String>| match text {
            None => Ok(1),
            Some(text) => text.parse().map_err(|_| Error::invalid("n", "n must be a number.")),
        };
        let mut wanted = Self {
            prompt: form.text("prompt")?.unwrap_or_default().to_owned(),
            count: count(number(text("n")?)?)?,
            size: text("size")?,
            response_format: text("response_format")?,
            stream: matches!(text("stream")?.as_deref(), Some("true" | "True" | "1")),
            ..Self::default()
        };
        for part in form.parts() {
            let (name, value) = (part.head.plain_name(), form.value(part));
            if ROUTING_FIELDS.contains(&name) {
                continue;
            }
            match name {
                "mask" => wanted.mask = Some(Picture::of_bytes(value)),
                "image" => wanted.images.push(Picture::of_bytes(value)),
                _ if KNOWN.contains(&name) => {}
                _ => {
                    let text = String::from_utf8_lossy(value).into_owned();
                    let numbers = ["seed", "steps", "output_compression", "partial_images", "strength"];
                    let number = numbers.contains(&name).then(|| serde_json::from_str(&text).ok()).flatten();
                    wanted.more.insert(name.to_owned(), number.unwrap_or(Value::String(text)));
                }
            }
        }
        Ok(wanted)
    }
}

fn count(asked: i64) -> Result<u64> {
    let fits = u64::try_from(asked).ok().filter(|count| (1..=MOST).contains(count));
    fits.ok_or_else(|| Error::invalid("n", format!("n must be 1 to {MOST}.")))
}

impl Picture {
    /// The type is detected from the first bytes, because clients often give none or a wrong one.
    fn of_bytes(bytes: &[u8]) -> Self {
        Self::Bytes { media_type: media_type(bytes).to_owned(), base64: STANDARD.encode(bytes) }
    }

    fn of_url(url: String, param: &str) -> Result<Self> {
        let Some(read) = data_url(&url) else { return Ok(Self::Address(url)) };
        let read = read.filter(|read| read.is_base64 && !read.data.is_empty());
        match read.filter(|read| STANDARD.decode(read.data).is_ok()) {
            Some(read) => Ok(Self::Bytes { media_type: read.mime, base64: read.data.to_owned() }),
            None => Err(Error::invalid(param.to_owned(), format!("{param} is not a base64 data URI."))),
        }
    }

    /// The image as a URL.
    fn url(&self) -> String {
        match self {
            Self::Bytes { media_type, base64 } => format!("data:{media_type};base64,{base64}"),
            Self::Address(url) => url.clone(),
        }
    }

    /// The image's type and bytes, for providers that fetch nothing.
    fn inline(&self, param: &str) -> Result<(&str, &str)> {
        match self {
            Self::Bytes { media_type, base64 } => Ok((media_type, base64)),
            Self::Address(_) => {
                let message = format!(
                    "{param} is a web address, and the provider accepts only bytes; send a data URI or a file."
                );
                Err(Error::unsupported(param.to_owned(), message))
            }
        }
    }
}

/// The type of an image.
pub(super) fn media_type(bytes: &[u8]) -> &'static str {
    match bytes {
        [0xFF, 0xD8, ..] => "image/jpeg",
        [b'G', b'I', b'F', b'8', ..] => "image/gif",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        _ => "image/png",
    }
}
