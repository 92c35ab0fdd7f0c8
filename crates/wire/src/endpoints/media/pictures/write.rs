//! Requests for images in the providers' formats.

use bytes::Bytes;
use canon::{Error, Losses, Operation, Result};
use http::HeaderValue;
use http::header::ACCEPT;
use serde_json::{Map, Value, json};

use super::{BackgroundReader, PictureRequest, PicturesReader};
use crate::Headers;
use crate::endpoints::media::images::{RATIOS, nearest, no_urls, parsed};
use crate::endpoints::media::meter::Meter;
use crate::endpoints::media::native::no_stream;
use crate::endpoints::media::reader::OpenaiReader;
use crate::endpoints::media::{MediaFormat, MediaRow, SizeField};
use crate::endpoints::{AnswerReader, EndpointTarget, Part, ProviderRequest};

/// The ratios that Stability's models on Bedrock support.
const STABILITY_RATIOS: [(u64, u64); 9] =
    [(16, 9), (1, 1), (21, 9), (2, 3), (3, 2), (4, 5), (5, 4), (9, 16), (9, 21)];

/// Fields that only OpenAI's models support.
const OPENAI_ONLY: [&str; 11] = [
    "background",
    "complexity",
    "input_fidelity",
    "moderation",
    "output_compression",
    "partial_images",
    "quality",
    "safety_identifier",
    "style",
    "svg",
    "user",
];
const NO_SUCH_FIELD: &str = "The provider has no such field.";

impl PictureRequest {
    /// The request in the provider's format.
    pub fn write(
        &self,
        operation: Operation,
        (row, usual): (&MediaRow, &'static str),
        target: EndpointTarget<'_>,
    ) -> Result<ProviderRequest> {
        let mut losses = Losses::new();
        let mut headers = Headers::new();
        let format = row.format.of_model(target.model);
        let (body, path) = match format {
            MediaFormat::Gemini => (self.gemini(&mut losses)?, "generateContent"),
            MediaFormat::Stability => (self.stability(operation, &mut losses)?, "invoke"),
            MediaFormat::Kontext => {
                let body = self.kontext((operation, target.model), &mut losses)?;
                let reader = Box::new(BackgroundReader);
                return Ok(request(row, "/workflows/{model}", (&body, headers, self.count), losses, reader));
            }
            MediaFormat::Fireworks if operation == Operation::ImageEdits => {
                let message =
                    format!("{} edits no images at this provider; FLUX Kontext does.", target.model);
                return Err(Error::unsupported("model", message));
            }
            MediaFormat::Fireworks => {
                let is_jpeg = matches!(self.more.get("output_format"), Some(format) if format == "jpeg");
                let accept = if is_jpeg { "image/jpeg" } else { "image/png" };
                headers.push((ACCEPT, HeaderValue::from_static(accept)));
                (self.fireworks(&mut losses)?, "/workflows/{model}/text_to_image")
            }
            _ => {
                let body = self.with_references(row, target.model, &mut losses)?;
                let meter = Meter { operation, characters: 0, milliseconds: None };
                let reader = OpenaiReader { meter, sound: None, is_text: false };
                return Ok(request(row, usual, (&body, headers, 1), losses, Box::new(reader)));
            }
        };
        if self.response_format.as_deref() == Some("url") {
            let message = format!("{} returns images only as b64_json, not as URLs.", target.model);
            return Err(Error::unsupported("response_format", message));
        }
        let reader = PicturesReader { format, operation, is_stream: self.stream };
        Ok(request(row, path, (&body, headers, self.count), losses, Box::new(reader)))
    }

    /// OpenAI's fields, and the images as references in the body: for providers whose edits are in JSON or at
    /// the same endpoint as generations.
    fn with_references(&self, row: &MediaRow, model: &str, losses: &mut Losses) -> Result<Value> {
        if self.stream {
            return Err(no_stream(Operation::ImageEdits));
        }
        if self.mask.is_some() {
            return Err(Error::unsupported("mask", "The provider does not accept a mask."));
        }
        let mut body = json!({"model": model, "prompt": self.prompt, "n": self.count});
        self.sized(row, &mut body, losses);
        if row.base64_only && self.response_format.as_deref() == Some("url") {
            return Err(no_urls(model));
        }
        if let Some(asked) = self.response_format.as_deref().filter(|_| !row.base64_only) {
            let word = row.base64_word.as_deref().filter(|_| asked == "b64_json");
            body["response_format"] = word.unwrap_or(asked).into();
        }
        for (name, value) in &self.more {
            if row.drop.contains(name) {
                losses.dropped(name.clone(), NO_SUCH_FIELD)
            } else {
                body[name] = value.clone()
            }
        }
        let urls: Vec<String> = self.images.iter().map(super::Picture::url).collect();
        match (row.format, &urls[..]) {
            (MediaFormat::Xai, [one]) => body["image"] = json!({"type": "image_url", "url": one}),
            (MediaFormat::Xai, urls) => {
                body["images"] = urls.iter().map(|url| json!({"type": "image_url", "url": url})).collect();
            }
            (MediaFormat::Together, [one]) => body["image_url"] = one.as_str().into(),
            (MediaFormat::Together, urls) => body["reference_images"] = json!(urls),
            (_, urls) => {
                let reference = |url| json!({"type": "image_url", "image_url": {"url": url}});
                body["input_references"] = urls.iter().map(reference).collect();
            }
        }
        Ok(body)
    }

    fn sized(&self, row: &MediaRow, body: &mut Value, losses: &mut Losses) {
        let Some(asked) = self.size.as_deref() else { return };
        match (row.size, parsed(asked)) {
            (SizeField::Size, _) => body["size"] = asked.into(),
            (SizeField::WidthHeight, Some((width, height))) => {
                body["width"] = width.into();
                body["height"] = height.into();
            }
            (SizeField::AspectRatio, Some(_)) => {
                if let Some(ratio) = self.ratio(&RATIOS, losses) {
                    body["aspect_ratio"] = ratio.into();
                }
            }
            (_, None) if asked == "auto" => {}
            (_, None) => losses.dropped("size", "The provider accepts only numbers."),
        }
    }

    /// The nearest supported ratio of width and height, where a size is requested.
    fn ratio(&self, known: &[(u64, u64)], losses: &mut Losses) -> Option<String> {
        let asked = self.size.as_deref()?;
        let Some((width, height)) = parsed(asked) else {
            if asked != "auto" {
                losses.dropped("size", "The provider accepts only numbers.");
            }
            return None;
        };
        let (wide, high) = nearest(known, width, height);
        losses.approximated("size", "The provider accepts only a ratio of width and height.");
        Some(format!("{wide}:{high}"))
    }

    /// Google's generateContent.
    fn gemini(&self, losses: &mut Losses) -> Result<Value> {
        if self.mask.is_some() {
            return Err(Error::unsupported("mask", "The provider does not accept a mask."));
        }
        for name in self.more.keys() {
            losses.dropped(name.clone(), NO_SUCH_FIELD);
        }
        let mut parts = Vec::new();
        for (index, image) in self.images.iter().enumerate() {
            let (media_type, base64) = image.inline(&format!("images[{index}]"))?;
            parts.push(json!({"inlineData": {"mimeType": media_type, "data": base64}}));
        }
        parts.push(json!({"text": self.prompt}));
        let mut config = json!({"responseModalities": ["TEXT", "IMAGE"]});
        if let Some(ratio) = self.ratio(&RATIOS, losses) {
            let mut image = Map::new();
            image.insert("aspectRatio".to_owned(), ratio.into());
            // The default image has a long edge of 1K. Older models support no other size.
            let edge = self.size.as_deref().and_then(parsed).map_or(0, |(width, height)| width.max(height));
            if edge > 1536 {
                image.insert("imageSize".to_owned(), if edge > 2560 { "4K" } else { "2K" }.into());
            }
            config["imageConfig"] = image.into();
        }
        Ok(json!({"contents": [{"role": "user", "parts": parts}], "generationConfig": config}))
    }

    /// Stability's models on Bedrock, by InvokeModel. Fields that only models for edits have pass unchanged.
    fn stability(&self, operation: Operation, losses: &mut Losses) -> Result<Value> {
        let mut body = self.with_own_fields(losses);
        body["prompt"] = self.prompt.as_str().into();
        match (operation, &self.images[..]) {
            (Operation::ImageEdits, [image]) => {
                body["image"] = image.inline("image")?.1.into();
                if let Some(mask) = &self.mask {
                    body["mask"] = mask.inline("mask")?.1.into();
                } else if body.get("strength").is_some() {
                    body["mode"] = "image-to-image".into();
                }
            }
            (Operation::ImageEdits, _) => {
                return Err(Error::unsupported("image", "The provider accepts one image."));
            }
            _ => {
                body["mode"] = "text-to-image".into();
                if let Some(ratio) = self.ratio(&STABILITY_RATIOS, losses) {
                    body["aspect_ratio"] = ratio.into();
                }
            }
        }
        Ok(body)
    }

    /// FLUX at Fireworks.
    fn fireworks(&self, losses: &mut Losses) -> Result<Value> {
        let mut body = self.with_own_fields(losses);
        body["prompt"] = self.prompt.as_str().into();
        if let Some(object) = body.as_object_mut() {
            // The `Accept` header requests the format.
            object.remove("output_format");
        }
        if let Some(ratio) = self.ratio(&RATIOS, losses) {
            body["aspect_ratio"] = ratio.into();
        }
        Ok(body)
    }

    /// FLUX Kontext at Fireworks.
    fn kontext(&self, (operation, model): (Operation, &str), losses: &mut Losses) -> Result<Value> {
        if self.stream {
            return Err(no_stream(operation));
        }
        if self.mask.is_some() {
            return Err(Error::unsupported("mask", "The provider does not accept a mask."));
        }
        if self.response_format.as_deref() == Some("b64_json") {
            let message = format!("{model} answers with the URL of the image; ask for \"url\".");
            return Err(Error::unsupported("response_format", message));
        }
        let mut body = self.with_own_fields(losses);
        body["prompt"] = self.prompt.as_str().into();
        match &self.images[..] {
            [] => {}
            [image] => body["input_image"] = image.url().into(),
            _ => return Err(Error::unsupported("image", "The provider accepts one image.")),
        }
        if let Some(ratio) = self.ratio(&RATIOS, losses) {
            body["aspect_ratio"] = ratio.into();
        }
        Ok(body)
    }

    /// The fields that are not OpenAI's.
    fn with_own_fields(&self, losses: &mut Losses) -> Value {
        let mut body = Map::new();
        for (name, value) in &self.more {
            if OPENAI_ONLY.contains(&name.as_str()) {
                losses.dropped(name.clone(), NO_SUCH_FIELD)
            } else {
                drop(body.insert(name.clone(), value.clone()))
            }
        }
        Value::Object(body)
    }
}

/// The same request once per image.
fn request(
    row: &MediaRow,
    path: &'static str,
    (body, headers, count): (&Value, Headers, u64),
    losses: Losses,
    reader: Box<dyn AnswerReader>,
) -> ProviderRequest {
    let body = Bytes::from(body.to_string());
    let part = Part { path: row.path(path), headers, body, goes_on: false, first_input: 0 };
    ProviderRequest { parts: vec![part; usize::try_from(count).unwrap_or(1)], losses, reader }
}
