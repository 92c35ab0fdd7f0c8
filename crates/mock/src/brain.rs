//! The content of answers: rules that depend only on the request, whatever its format.

use crate::agent::{self, Entry};
use crate::example;
use crate::server::Flavour;
use serde_json::Value;

/// A request, without its format.
#[derive(Clone, Debug, Default)]
pub struct Prompt {
    /// Characters of all text in the request: the basis of the token counts.
    pub characters: usize,
    /// The system prompt.
    pub instructions: String,
    /// The text of the last message of the user.
    pub said: String,
    /// Results of tools, when they are the last entries of the request.
    pub results: Vec<String>,
    /// All texts of users and results of tools, in order.
    pub story: Vec<Entry>,
    /// Images, documents and audio of all messages.
    pub media: Vec<Media>,
    pub tools: Vec<Tool>,
    pub choice: Choice,
    /// Whether several calls in one answer are allowed.
    pub parallel: bool,
    pub json: Json,
    pub reasoning: bool,
    pub max_tokens: Option<u64>,
    pub stop: Vec<String>,
    /// The number of answers.
    pub count: usize,
}

/// An attachment as it arrived.
#[derive(Clone, Debug)]
pub struct Media {
    /// "image", "document", "audio", "video".
    pub kind: &'static str,
    /// Media type, or the address when only an address was sent.
    pub label: String,
    /// Bytes after decoding; none for an address.
    pub bytes: Option<usize>,
}

/// A function that may be called.
#[derive(Clone, Debug, Default)]
pub struct Tool {
    pub name: String,
    pub schema: Value,
    /// The group that it belongs to, in formats that have groups.
    pub namespace: Option<String>,
    /// It takes a text instead of arguments.
    pub custom: bool,
}

impl Tool {
    /// A function with the schema of its arguments.
    pub fn function(name: impl Into<String>, schema: Value) -> Tool {
        Tool { name: name.into(), schema, ..Tool::default() }
    }
}

/// The caller's `tool_choice`.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Choice {
    #[default]
    Auto,
    Never,
    Any,
    Named(String),
}

/// Whether the answer must be JSON.
#[derive(Clone, Debug, Default)]
pub enum Json {
    #[default]
    No,
    AnyObject,
    Schema(Value),
}

/// The answer, without its format.
#[derive(Clone, Debug)]
pub struct Answer {
    pub thinking: Option<String>,
    pub text: String,
    pub calls: Vec<Called>,
    pub finish: Finish,
    pub input_tokens: u64,
    /// Includes the thinking.
    pub output_tokens: u64,
    pub thinking_tokens: u64,
}

/// One call of a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Called {
    pub name: String,
    /// An object; a string for a tool that takes a text.
    pub arguments: Value,
}

/// Why the answer ends.
#[derive(Clone, Debug, PartialEq)]
pub enum Finish {
    Stop,
    StopSequence(String),
    Length,
    Calls,
}

impl Prompt {
    /// Defaults that all formats share.
    pub fn new() -> Prompt {
        Prompt { parallel: true, count: 1, ..Prompt::default() }
    }

    /// Counts text that was sent.
    pub fn count_text(&mut self, text: &str) {
        self.characters += text.chars().count();
    }

    /// A text of the system prompt.
    pub fn instruct(&mut self, text: &str) {
        self.count_text(text);
        self.instructions.push_str(text);
        self.instructions.push('\n');
    }

    /// A message of the user begins; earlier texts and results are history.
    pub fn begin_user(&mut self) {
        self.said.clear();
        self.results.clear();
    }

    /// A text of the user's current message.
    pub fn say(&mut self, text: &str) {
        self.count_text(text);
        if !self.said.is_empty() {
            self.said.push('\n');
        }
        self.said.push_str(text);
        self.story.push(Entry::User(text.to_string()));
    }

    /// A result of a tool.
    pub fn result(&mut self, text: &str) {
        self.count_text(text);
        self.results.push(text.to_string());
        self.story.push(Entry::Result(text.to_string()));
    }

    /// How many results of tools the whole conversation holds.
    pub fn result_count(&self) -> usize {
        self.story.iter().filter(|entry| matches!(entry, Entry::Result(_))).count()
    }

    /// An attachment given in base64.
    pub fn attach(&mut self, kind: &'static str, media_type: &str, base64: &str) {
        let padding = base64.bytes().rev().take_while(|byte| *byte == b'=').count();
        let bytes = (base64.len() * 3 / 4).saturating_sub(padding);
        self.media.push(Media { kind, label: media_type.to_string(), bytes: Some(bytes) });
    }

    /// An attachment given as text.
    pub fn attach_text(&mut self, kind: &'static str, media_type: &str, text: &str) {
        self.media.push(Media { kind, label: media_type.to_string(), bytes: Some(text.len()) });
    }

    /// An attachment given by its address.
    pub fn attach_address(&mut self, kind: &'static str, address: &str) {
        self.media.push(Media { kind, label: address.to_string(), bytes: None });
    }

    /// An attachment given by an address that may hold the data itself.
    pub fn attach_url(&mut self, kind: &'static str, url: &str) {
        match url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
            Some((media_type, base64)) => self.attach(kind, media_type, base64),
            None => self.attach_address(kind, url),
        }
    }
}

pub fn answer(prompt: &Prompt, flavour: Flavour) -> Answer {
    let step =
        if flavour == Flavour::Agent && matches!(prompt.json, Json::No) { agent::next(prompt) } else { None };
    let (text, calls) = match step {
        Some(agent::Step::Say(text)) => (text, Vec::new()),
        Some(agent::Step::Call(reason, called)) => (reason.to_string(), vec![called]),
        None => by_rules(prompt, flavour),
    };
    let (text, finish) = shorten(text, prompt, !calls.is_empty());
    let thinking = prompt.reasoning.then(|| thinking(prompt));
    let thinking_tokens = thinking.as_deref().map_or(0, tokens);
    let called: u64 = calls.iter().map(|call| tokens(&call.name) + tokens(&call.arguments.to_string())).sum();
    let said = if text.is_empty() { 0 } else { tokens(&text) };
    Answer {
        thinking,
        text,
        calls,
        finish,
        input_tokens: input_tokens(prompt),
        output_tokens: said + called + thinking_tokens,
        thinking_tokens,
    }
}

fn by_rules(prompt: &Prompt, flavour: Flavour) -> (String, Vec<Called>) {
    let calls = calls(prompt);
    let text = if calls.is_empty() { text(prompt, flavour == Flavour::Demo) } else { String::new() };
    (text, calls)
}

/// A quarter of the characters, at least one: close to what tokenizers count, and predictable.
pub fn tokens(text: &str) -> u64 {
    (text.chars().count() as u64).div_ceil(4).max(1)
}

/// The tokens of everything that was sent.
pub fn input_tokens(prompt: &Prompt) -> u64 {
    let tools: usize = prompt.tools.iter().map(|tool| tool.name.len() + tool.schema.to_string().len()).sum();
    ((prompt.characters + tools) as u64).div_ceil(4).max(1) + 85 * prompt.media.len() as u64
}

/// Cuts a text into the small pieces of a stream: about two words each.
pub fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut start, mut words) = (0, 0);
    for (position, character) in text.char_indices() {
        if character != ' ' || position == start {
            continue;
        }
        words += 1;
        if words == 2 {
            pieces.push(&text[start..position]);
            (start, words) = (position, 0);
        }
    }
    if start < text.len() {
        pieces.push(&text[start..]);
    }
    pieces
}

/// Calls in one answer.
const MOST_CALLS: usize = 8;

fn calls(prompt: &Prompt) -> Vec<Called> {
    let Some(tool) = chosen_tool(prompt) else { return Vec::new() };
    if tool.custom {
        return vec![Called { name: tool.name.clone(), arguments: prompt.said.clone().into() }];
    }
    let mut places = example::places(&prompt.said);
    places.truncate(MOST_CALLS);
    let several = prompt.parallel && places.len() > 1 && example::asks_for_place(&tool.schema);
    if !several {
        let arguments = example::arguments(&tool.schema, &prompt.said);
        return vec![Called { name: tool.name.clone(), arguments }];
    }
    places
        .iter()
        .map(|place| Called {
            name: tool.name.clone(),
            arguments: example::arguments(&tool.schema, &format!("in {place}")),
        })
        .collect()
}

fn chosen_tool(prompt: &Prompt) -> Option<&Tool> {
    match &prompt.choice {
        Choice::Never => None,
        Choice::Named(name) => prompt.tools.iter().find(|tool| tool.name == *name),
        // A caller that forces a call on every turn still gets one, as from the provider.
        Choice::Any => mentioned_tool(prompt).or(prompt.tools.first()),
        Choice::Auto if prompt.results.is_empty() => mentioned_tool(prompt),
        Choice::Auto => None,
    }
}

/// The tool whose name, or a significant word of it, occurs in the text; "weather" and "tool" call the first.
fn mentioned_tool(prompt: &Prompt) -> Option<&Tool> {
    let said = prompt.said.to_lowercase();
    let by_name = prompt.tools.iter().find(|tool| said.contains(&tool.name.to_lowercase()));
    let by_word = || {
        prompt.tools.iter().find(|tool| {
            let name = tool.name.to_lowercase();
            let mut words = name.split(|character: char| !character.is_alphanumeric());
            words.any(|word| word.len() > 4 && said.contains(word))
        })
    };
    let by_hint = || {
        let hinted = said.contains("weather") || said.contains("tool");
        prompt.tools.first().filter(|_| hinted)
    };
    by_name.or_else(by_word).or_else(by_hint)
}

fn text(prompt: &Prompt, demo: bool) -> String {
    // A schema in the instructions says more than a bare request for JSON.
    let in_words = json_asked_in_words(prompt);
    let json = match (&prompt.json, &in_words) {
        (Json::Schema(_), _) | (Json::AnyObject, Json::No) => &prompt.json,
        (_, in_words) => in_words,
    };
    match json {
        Json::AnyObject => return serde_json::json!({ "answer": plain_text(prompt) }).to_string(),
        Json::Schema(schema) => return example::value(schema, &prompt.said).to_string(),
        Json::No => {}
    }
    if !demo {
        return plain_text(prompt);
    }
    format!("This is the llmgateway demo model: its answers follow fixed rules. {}", plain_text(prompt))
}

/// Where a provider has no JSON mode, callers ask for JSON in the system prompt. A model that follows
/// instructions then answers with JSON, and so does the mock. A schema in the text is followed as well.
fn json_asked_in_words(prompt: &Prompt) -> Json {
    let words = prompt.instructions.to_lowercase();
    if !words.contains("json") {
        return Json::No;
    }
    let starts = prompt.instructions.match_indices('{').map(|(position, _)| &prompt.instructions[position..]);
    let mut objects =
        starts.filter_map(|rest| serde_json::Deserializer::from_str(rest).into_iter().next()?.ok());
    let schema = objects.find(|object: &Value| object.get("properties").is_some());
    schema.map_or(Json::AnyObject, Json::Schema)
}

fn plain_text(prompt: &Prompt) -> String {
    let mut text = if !prompt.results.is_empty() {
        format!("The tool answered: {}", prompt.results.join(" | "))
    } else {
        known_answer(&prompt.said).unwrap_or_else(|| format!("You said: {}", prompt.said))
    };
    if let Some(received) = received_media(&prompt.media) {
        shorten_to(&mut text, LONGEST_TEXT);
        text.push_str(&format!("\n{received}"));
    }
    shorten_to(&mut text, 2 * LONGEST_TEXT);
    text
}

/// Maximum length of an echo: a caller must not make the mock repeat megabytes a hundred times.
const LONGEST_TEXT: usize = 4000;

/// Cuts a text after this many characters, and marks the cut.
fn shorten_to(text: &mut String, characters: usize) {
    if let Some((end, _)) = text.char_indices().nth(characters) {
        text.truncate(end);
        text.push('…');
    }
}

fn known_answer(said: &str) -> Option<String> {
    let lower = said.to_lowercase();
    if lower.contains("capital of france") {
        return Some("The capital of France is Paris.".to_string());
    }
    let rest = &lower[lower.find("count to ")? + "count to ".len()..];
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let last: u32 = digits.parse().ok().filter(|last| (1..=1000).contains(last))?;
    Some((1..=last).map(|number| number.to_string()).collect::<Vec<_>>().join(", "))
}

/// "I received 2 images (image/png, 70 bytes; https://…)."
fn received_media(media: &[Media]) -> Option<String> {
    let mut parts = Vec::new();
    for kind in ["image", "document", "audio", "video"] {
        let of_kind: Vec<&Media> = media.iter().filter(|one| one.kind == kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        let plural = if of_kind.len() == 1 { "" } else { "s" };
        let labels: Vec<String> = of_kind.iter().map(|one| describe(one)).collect();
        parts.push(format!("{} {kind}{plural} ({})", of_kind.len(), labels.join("; ")));
    }
    (!parts.is_empty()).then(|| format!("I received {}.", parts.join(" and ")))
}

fn describe(media: &Media) -> String {
    match media.bytes {
        Some(bytes) => format!("{}, {bytes} bytes", media.label),
        None => media.label.clone(),
    }
}

fn thinking(prompt: &Prompt) -> String {
    let about: String = prompt.said.chars().take(60).collect();
    format!("The user wants: {about}. I answer by fixed rules.")
}

/// Honours the stop sequences and then the token limit.
fn shorten(mut text: String, prompt: &Prompt, calling: bool) -> (String, Finish) {
    if calling {
        return (text, Finish::Calls);
    }
    let mut finish = Finish::Stop;
    let first = prompt.stop.iter().filter(|stop| !stop.is_empty());
    if let Some((at, stop)) = first.filter_map(|stop| Some((text.find(stop.as_str())?, stop))).min() {
        text.truncate(at);
        finish = Finish::StopSequence(stop.clone());
    }
    if let Some(limit) = prompt.max_tokens
        && tokens(&text) > limit
    {
        text = text.chars().take(limit as usize * 4).collect();
        finish = Finish::Length;
    }
    (text, finish)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_up_the_text() {
        for text in ["", "one", "one two three  four", " ä ö ü ß ", "a\nb c\n d"] {
            assert_eq!(pieces(text).concat(), text);
        }
        assert_eq!(pieces("one two three"), ["one two", " three"]);
    }

    #[test]
    fn echoes_have_a_maximum_length() {
        let mut prompt = Prompt::new();
        prompt.say(&"ä".repeat(1_000_000));
        assert!(answer(&prompt, Flavour::Demo).text.chars().count() < 10_000);
    }

    #[test]
    fn earlier_turns_are_not_the_question() {
        let mut prompt = Prompt::new();
        prompt.say("What is the weather?");
        prompt.begin_user();
        prompt.say("Thanks");
        prompt.tools.push(Tool { name: "get_weather".into(), ..Tool::default() });
        assert_eq!(answer(&prompt, Flavour::Plain).text, "You said: Thanks");
        assert!(answer(&prompt, Flavour::Plain).calls.is_empty());
    }
}
