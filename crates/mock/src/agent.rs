//! Plays the model behind a coding agent: reads a file, edits it with the agent's own tool, runs a command,
//! ends its turn.
//!
//! The task is in the user's text: Read `FILE`, replace `OLD` with `NEW`, run `COMMAND`. Take 40 turns.
//! Progress is counted from the tool results in the conversation, so the same request has the same answer.

use crate::brain::{Called, Prompt, Tool};
use crate::example;
use serde_json::{Map, Value, json};

/// An entry of the conversation that the persona uses.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A text of the user.
    User(String),
    /// A result of a tool.
    Result(String),
}

/// The next step of the persona.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Says this text and ends the turn.
    Say(String),
    /// Says the reason and calls a tool.
    Call(&'static str, Called),
}

/// None when the conversation contains no task.
pub fn next(prompt: &Prompt) -> Option<Step> {
    let (start, task) = task(&prompt.story)?;
    let (done, last) = progress(&prompt.story[start..]);
    if wants_summary(&prompt.said) {
        return Some(Step::Say(summary(&task, done)));
    }
    if prompt.tools.is_empty() {
        return Some(Step::Say(format!("Edit {}", file_name(&task.file))));
    }
    let next = match task.action(done) {
        Action::Read => tool_call(&prompt.tools, READ, |tool| read(tool, &task))
            .or_else(|| shell(&prompt.tools, &format!("cat {}", task.file)))
            .map(|call| Step::Call("I look at the file first.", call)),
        Action::Filler => shell(&prompt.tools, &format!("echo turn {}", done + 1))
            .map(|call| Step::Call("One more look.", call)),
        Action::Edit => edit(&prompt.tools, &task).map(|call| Step::Call("Now I change the line.", call)),
        Action::Run => shell(&prompt.tools, &task.command).map(|call| Step::Call("Now I check it.", call)),
        Action::Finish => {
            let shown: String = last.trim().chars().take(400).collect();
            Some(Step::Say(format!(
                "Done: {} says {} now. The command printed: {shown}",
                task.file, task.new
            )))
        }
    };
    Some(next.unwrap_or_else(|| {
        let names: Vec<&str> = prompt.tools.iter().map(|tool| tool.name.as_str()).collect();
        Step::Say(format!("I cannot do it: no tool for step {} among {}.", done + 1, names.join(", ")))
    }))
}

/// The user's task.
#[derive(Debug)]
struct Task {
    file: String,
    old: String,
    new: String,
    command: String,
    /// Calls of tools until the end, at least three.
    turns: usize,
}

enum Action {
    Read,
    /// A call that only makes the session longer.
    Filler,
    Edit,
    Run,
    Finish,
}

impl Task {
    fn action(&self, done: usize) -> Action {
        match done {
            0 => Action::Read,
            _ if done >= self.turns => Action::Finish,
            _ if done + 1 == self.turns => Action::Run,
            _ if done + 2 == self.turns => Action::Edit,
            _ => Action::Filler,
        }
    }
}

/// The last task of the conversation, and its index.
fn task(story: &[Entry]) -> Option<(usize, Task)> {
    story.iter().enumerate().rev().find_map(|(index, entry)| match entry {
        Entry::User(text) => parse(text).map(|task| (index, task)),
        Entry::Result(_) => None,
    })
}

fn parse(text: &str) -> Option<Task> {
    let from = &text[text.rfind("Read `")?..];
    let mut quoted = from.split('`').skip(1).step_by(2);
    let mut next = || quoted.next().map(str::to_string);
    let (file, old, new, command) = (next()?, next()?, next()?, next()?);
    let rest = &from[from.find(&format!("run `{command}`"))?..];
    Some(Task { file, old, new, command, turns: number_after(rest, "Take ").unwrap_or(3).clamp(3, 200) })
}

fn number_after(text: &str, words: &str) -> Option<usize> {
    let rest = &text[text.rfind(words)? + words.len()..];
    rest.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

/// The number of steps since the task was given, and the last result. A summary states the number of steps
/// before it.
fn progress(story: &[Entry]) -> (usize, &str) {
    let (mut done, mut last) = (0, "");
    for entry in story {
        match entry {
            Entry::User(text) => done = number_after(text, STEPS_DONE).unwrap_or(done),
            Entry::Result(text) => {
                done += 1;
                last = text;
            }
        }
    }
    (done, last)
}

const STEPS_DONE: &str = "Steps done: ";

/// Phrases by which agents ask for the summary that replaces a long history.
const SUMMARY_WISHES: [&str; 5] = [
    "respond with text only",
    "context checkpoint compaction",
    "create a detailed summary",
    "detailed prompt for continuing our conversation",
    "<state_snapshot>",
];

fn wants_summary(said: &str) -> bool {
    let said = said.to_lowercase();
    SUMMARY_WISHES.iter().any(|wish| said.contains(wish))
}

/// A summary contains the task and the progress, so that a session that continues from it takes the same
/// steps.
pub fn summary_of(story: &[Entry]) -> String {
    match task(story) {
        Some((start, task)) => summary(&task, progress(&story[start..]).0),
        None => "<summary>Nothing was asked for.</summary>".to_string(),
    }
}

fn summary(task: &Task, done: usize) -> String {
    let Task { file, old, new, command, turns } = task;
    format!(
        "<summary>The task: Read `{file}`, replace `{old}` with `{new}`, run `{command}`. Take {turns} turns. \
         {STEPS_DONE}{done}.</summary>"
    )
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

const READ: &[&str] = &["read", "read_file", "readfile", "view"];
const EDIT: &[&str] = &["edit", "replace", "edit_file", "str_replace"];
const PATCH: &[&str] = &["apply_patch"];
const SHELL: &[&str] =
    &["bash", "run_shell_command", "exec_command", "shell_command", "shell", "local_shell", "run_command"];
/// Codex's tool that takes a program, which calls the other tools.
const PROGRAM: &[&str] = &["exec"];

/// Tool names can have the names of their groups as a prefix (`functions.exec`, `mcp__files__read`), joined
/// in some way.
fn base_name(name: &str) -> String {
    let name = name.rsplit(['.', '/', ':']).next().unwrap_or(name);
    name.rsplit("__").next().unwrap_or(name).to_lowercase()
}

fn find<'a>(tools: &'a [Tool], names: &[&str]) -> Option<&'a Tool> {
    names.iter().find_map(|name| tools.iter().find(|tool| base_name(&tool.name) == *name))
}

fn tool_call(tools: &[Tool], names: &[&str], arguments: impl Fn(&Tool) -> Option<Value>) -> Option<Called> {
    let tool = find(tools, names)?;
    Some(Called { name: tool.name.clone(), arguments: arguments(tool)? })
}

fn read(tool: &Tool, task: &Task) -> Option<Value> {
    filled(tool, |name| is_path(name).then(|| task.file.as_str().into()))
}

fn is_path(name: &str) -> bool {
    matches!(name, "file_path" | "filePath" | "absolute_path" | "path" | "file")
}

fn edit(tools: &[Tool], task: &Task) -> Option<Called> {
    let Task { file, old, new, .. } = task;
    let replace = |tool: &Tool| {
        filled(tool, |name| match name {
            "old_string" | "oldString" | "old_str" => Some(old.as_str().into()),
            "new_string" | "newString" | "new_str" => Some(new.as_str().into()),
            _ => is_path(name).then(|| file.as_str().into()),
        })
    };
    let patch = format!("*** Begin Patch\n*** Update File: {file}\n@@\n-{old}\n+{new}\n*** End Patch\n");
    let program = format!("text(await tools.apply_patch({}));", Value::from(patch.as_str()));
    tool_call(tools, EDIT, replace)
        .or_else(|| tool_call(tools, PATCH, |tool| free_text(tool, &patch)))
        .or_else(|| tool_call(tools, PROGRAM, |tool| free_text(tool, &program)))
        // An agent that offers no edit tool to a model that it does not know edits by commands.
        .or_else(|| {
            shell(tools, &format!("sed -i 's/^{}$/{}/' {file}", plain_for_sed(old), plain_for_sed(new)))
        })
}

/// Escapes a text for an expression of sed.
fn plain_for_sed(text: &str) -> String {
    let mut plain = String::new();
    for character in text.chars() {
        if "/\\.*[]^$&'".contains(character) {
            plain.push('\\');
        }
        plain.push(character);
    }
    plain
}

fn shell(tools: &[Tool], command: &str) -> Option<Called> {
    let arguments = |tool: &Tool| {
        filled(tool, |name| match name {
            "command" | "cmd" if is_list(tool, name) => Some(json!(["bash", "-lc", command])),
            "command" | "cmd" => Some(command.into()),
            _ => None,
        })
    };
    let program = format!("text((await tools.exec_command({})).output);", json!({ "cmd": command }));
    tool_call(tools, SHELL, arguments).or_else(|| tool_call(tools, PROGRAM, |tool| free_text(tool, &program)))
}

fn is_list(tool: &Tool, property: &str) -> bool {
    let kind = tool.schema.pointer(&format!("/properties/{property}/type"));
    kind.and_then(Value::as_str).is_some_and(|kind| kind.eq_ignore_ascii_case("array"))
}

/// The input of a tool that takes free text: bare, or as the first string of its schema. Gateways offer such
/// a tool in the second form to models that know only functions.
fn free_text(tool: &Tool, input: &str) -> Option<Value> {
    if tool.custom {
        return Some(input.into());
    }
    let properties = tool.schema.get("properties")?.as_object()?;
    let is_text = |schema: &Value| {
        schema.get("type").and_then(Value::as_str).is_some_and(|kind| kind.eq_ignore_ascii_case("string"))
    };
    let name = properties.iter().find(|(_, schema)| is_text(schema))?.0;
    Some(json!({ name: input }))
}

/// Arguments for the properties that have a value, and examples for others that are required. None when no
/// property has a value: the tool is then another one with the same name.
fn filled(tool: &Tool, value: impl Fn(&str) -> Option<Value>) -> Option<Value> {
    let properties = tool.schema.get("properties")?.as_object()?;
    let mut arguments = Map::new();
    for name in properties.keys() {
        if let Some(value) = value(name) {
            arguments.insert(name.clone(), value);
        }
    }
    if arguments.is_empty() {
        return None;
    }
    for name in crate::format::strings(tool.schema.get("required")) {
        if let Some(schema) = properties.get(&name).filter(|_| !arguments.contains_key(&name)) {
            arguments.insert(name, example::value(schema, "the task"));
        }
    }
    Some(Value::Object(arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: &str = "Read `/w/a.txt`, replace `beta` with `gamma`, run `cat /w/a.txt`.";

    fn tool(name: &str, properties: Value) -> Tool {
        let schema = json!({ "type": "object", "properties": properties });
        Tool { name: name.into(), schema, ..Tool::default() }
    }

    fn tools() -> Vec<Tool> {
        let text = json!({ "type": "string" });
        vec![
            tool("Read", json!({ "file_path": text })),
            tool("Edit", json!({ "file_path": text, "old_string": text, "new_string": text })),
            tool("mcp__x__Bash", json!({ "command": text })),
        ]
    }

    /// The names of the calls, and the final text.
    fn play(task: &str, tools: Vec<Tool>) -> (Vec<Called>, String) {
        let mut prompt = Prompt { tools, ..Prompt::new() };
        prompt.say(task);
        let mut calls = Vec::new();
        loop {
            match next(&prompt).unwrap() {
                Step::Say(text) => return (calls, text),
                Step::Call(_, called) => calls.push(called),
            }
            prompt.begin_user();
            prompt.result(&format!("result {}", calls.len()));
            assert!(calls.len() < 300);
        }
    }

    #[test]
    fn reads_edits_runs_and_finishes() {
        let (calls, end) = play(TASK, tools());
        let names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
        assert_eq!(names, ["Read", "Edit", "mcp__x__Bash"]);
        assert_eq!(calls[1].arguments["old_string"], "beta");
        assert_eq!(calls[2].arguments, json!({ "command": "cat /w/a.txt" }));
        assert_eq!(end, "Done: /w/a.txt says gamma now. The command printed: result 3");
    }

    #[test]
    fn a_long_session_has_the_requested_number_of_calls() {
        let (calls, _) = play(&format!("{TASK} Take 40 turns."), tools());
        assert_eq!(calls.len(), 40);
        assert_eq!(calls[38].name, "Edit");
    }

    #[test]
    fn free_text_is_sent_bare_or_in_the_only_text_field() {
        let custom = Tool { custom: true, ..tool("exec", json!({})) };
        let (calls, _) = play(TASK, vec![custom]);
        assert!(calls[1].arguments.as_str().unwrap().contains("tools.apply_patch(\"*** Begin Patch\\n"));
        let patch = tool("apply_patch", json!({ "patchText": { "type": "string" } }));
        let (calls, _) = play(TASK, vec![tools().remove(2), patch]);
        assert!(calls[1].arguments["patchText"].as_str().unwrap().contains("\n-beta\n+gamma\n"));
    }

    #[test]
    fn without_another_tool_a_command_edits_the_file() {
        let (calls, _) = play(TASK, vec![tools().remove(2)]);
        assert_eq!(calls[1].arguments["command"], "sed -i 's/^beta$/gamma/' /w/a.txt");
    }

    #[test]
    fn a_summary_keeps_the_number_of_steps_done() {
        let mut prompt = Prompt { tools: tools(), ..Prompt::new() };
        prompt.say(TASK);
        prompt.begin_user();
        prompt.result("read");
        prompt.say("CRITICAL: Respond with TEXT ONLY.");
        let Some(Step::Say(summary)) = next(&prompt) else { panic!() };
        let mut later = Prompt { tools: tools(), ..Prompt::new() };
        later.say(&format!("This session goes on. {summary}"));
        assert!(matches!(next(&later), Some(Step::Call(_, call)) if call.name == "Edit"));
    }

    #[test]
    fn without_a_task_there_is_no_step() {
        let mut prompt = Prompt { tools: tools(), ..Prompt::new() };
        prompt.say("Read `one` thing.");
        assert_eq!(next(&prompt), None);
    }
}
