//! A chat template: conversations to prompt text, and a trace to token ids with its loss mask.
//!
//! A training example is the prompt exactly as inference will render it (`add_generation_prompt`), then the
//! assistant's text, then the token that ends its turn. The two parts are tokenized apart, because inference has only
//! the first. The template never renders the assistant's text: R1-Distill's own template drops the thinking from it.

use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error as JinjaError, ErrorKind, context};
use serde_json::Value;

use crate::artifact::read_json;
use crate::record::Message;
use crate::tokenizer::{R1_SPECIAL, Tokenizer};
use crate::{Error, Result};

/// The template written for models that are trained from scratch: DeepSeek-R1's roles and tokens, no system prompt.
pub const R1_TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}{% elif message['role'] == 'assistant' %}{{ '<｜Assistant｜>' + message['content'] + eos_token }}{% else %}{{ message['content'] }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}";

/// A tokenizer with its chat template and the ids that matter to training and sampling.
#[derive(Debug, Clone)]
pub struct ChatFormat {
    /// Text to ids and back.
    pub tokenizer: Tokenizer,
    /// The Jinja source of the chat template.
    pub template: String,
    /// Beginning-of-sequence text, where the tokenizer has one.
    pub bos: Option<String>,
    /// End-of-sequence text.
    pub eos: String,
    /// The id of `eos`.
    pub eos_id: u32,
    /// The id that ends an assistant's turn: what the template writes after the assistant's text, else `eos`.
    pub end_of_turn_id: u32,
}

/// Token ids of one conversation, and how many of them, from the front, are the prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Prompt, assistant's text, end of turn.
    pub ids: Vec<u32>,
    /// Tokens of the prompt; all after it are supervised.
    pub prompt_len: usize,
}

impl ChatFormat {
    /// Reads `tokenizer.json`, `tokenizer_config.json` and, where it stands apart, `chat_template.jinja`.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let tokenizer = Tokenizer::from_file(&dir.join("tokenizer.json"))?;
        let path = dir.join("tokenizer_config.json");
        let config: Value = read_json(&path)?;
        let beside = dir.join("chat_template.jinja");
        let template = if beside.is_file() {
            std::fs::read_to_string(&beside).map_err(|e| Error::io("read", &beside, e))?
        } else {
            template_of(&config["chat_template"]).ok_or_else(|| {
                Error::malformed(
                    &path,
                    "there is no chat_template",
                    "take the template of the instruct version of this model and put it into chat_template.jinja",
                )
            })?
        };
        let eos = special_text(&config["eos_token"])
            .ok_or_else(|| Error::malformed(&path, "there is no eos_token", "name the token that ends a text"))?;
        Self::new(tokenizer, template, special_text(&config["bos_token"]), eos)
    }

    /// A tokenizer made by [`Tokenizer::train`] with [`R1_TEMPLATE`].
    pub fn r1(tokenizer: Tokenizer) -> Result<Self> {
        Self::new(tokenizer, R1_TEMPLATE.into(), Some(R1_SPECIAL[0].into()), R1_SPECIAL[1].into())
    }

    fn new(tokenizer: Tokenizer, template: String, bos: Option<String>, eos: String) -> Result<Self> {
        let eos_id = tokenizer.token_id(&eos).ok_or_else(|| {
            Error::invalid("eos_token", format!("{eos:?} is not in the vocabulary"), "name a token of tokenizer.json")
        })?;
        let mut format = Self { tokenizer, template, bos, eos, eos_id, end_of_turn_id: eos_id };
        format.end_of_turn_id = format.find_end_of_turn()?.unwrap_or(eos_id);
        Ok(format)
    }

    /// Renders the template.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let failed = |e: JinjaError| Error::Invalid {
            what: "chat template".into(),
            problem: format!("{e:#}"),
            remedy: "fix chat_template in the model's folder".into(),
        };
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(failed)?;
        environment.set_syntax(syntax);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> std::result::Result<String, JinjaError> {
            Err(JinjaError::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_template("chat", &self.template).map_err(failed)?;
        let bos_token = self.bos.as_deref().unwrap_or_default();
        environment
            .get_template("chat")
            .and_then(|t| {
                t.render(context! { messages => Serde(messages), add_generation_prompt, bos_token, eos_token => self.eos.as_str() })
            })
            .map_err(failed)
    }

    /// The ids a model is asked to continue.
    pub fn prompt_ids(&self, messages: &[Message]) -> Result<Vec<u32>> {
        self.tokenizer.encode(&self.render(messages, true)?)
    }

    /// The ids of a conversation whose last message is the assistant's, as training sees it.
    pub fn conversation(&self, messages: &[Message]) -> Result<Tokens> {
        let Some((Message { role, content }, prompt)) = messages.split_last() else {
            return Err(Error::invalid("conversation", "it is empty", "a training example needs two messages"));
        };
        if role != "assistant" || content.trim().is_empty() {
            return Err(Error::invalid("conversation", "its last message is not an assistant's text", "drop it"));
        }
        let prompt_text = self.render(prompt, true)?;
        let mut ids = self.tokenizer.encode(&prompt_text)?;
        let prompt_len = ids.len();
        ids.extend(self.tokenizer.encode(completion_after(&prompt_text, content))?);
        ids.push(self.end_of_turn_id);
        Ok(Tokens { ids, prompt_len })
    }

    /// The first added token the template writes after an assistant's text.
    fn find_end_of_turn(&self) -> Result<Option<u32>> {
        const MARK: &str = "a7f3marker";
        let text = self.render(&[Message::user("question"), Message::assistant(MARK)], false)?;
        let Some((_, after)) = text.split_once(MARK) else { return Ok(None) };
        Ok(self.tokenizer.encode(after)?.into_iter().find(|id| self.tokenizer.is_added(*id)))
    }
}

/// The assistant's text as it follows the prompt: a template that already opens `<think>` must not get it twice.
fn completion_after<'a>(prompt: &str, content: &'a str) -> &'a str {
    let forced = prompt.trim_end().ends_with("<think>");
    match content.strip_prefix("<think>") {
        Some(rest) if forced => rest.trim_start_matches('\n'),
        _ => content,
    }
}

/// `chat_template` is a string, or a list of named templates of which one is `default`.
fn template_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(named) => {
            named.iter().find(|t| t["name"] == "default").and_then(|t| t["template"].as_str()).map(str::to_owned)
        }
        _ => None,
    }
}

/// A special token is a string or an object with `content`.
fn special_text(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format() -> ChatFormat {
        let corpus: Vec<String> = (0..50).map(|n| format!("Mia has {n} apples and thinks about it.")).collect();
        ChatFormat::r1(Tokenizer::train(&corpus, 320).unwrap()).unwrap()
    }

    #[test]
    fn a_conversation_keeps_its_thinking_and_ends_with_the_end_of_turn() {
        let format = format();
        let text = "<think>\n1 + 2 = 3.\n</think>\n\n\\boxed{3}";
        let tokens = format.conversation(&[Message::user("1 + 2?"), Message::assistant(text)]).unwrap();
        let prompt = format.prompt_ids(&[Message::user("1 + 2?")]).unwrap();
        assert_eq!(tokens.ids[..tokens.prompt_len], prompt, "training sees the prompt that inference sends");
        assert_eq!(tokens.ids.last(), Some(&format.eos_id));
        let end = tokens.ids.len() - 1;
        assert_eq!(format.tokenizer.decode(&tokens.ids[tokens.prompt_len..end], false).unwrap(), text);
        assert_eq!(tokens.ids.iter().filter(|id| **id == 0).count(), 1, "one BOS");
    }

    #[test]
    fn a_template_that_opens_the_thinking_does_not_get_it_twice() {
        let mut format = format();
        format.template = format!("{R1_TEMPLATE}{{{{ '<think>\\n' }}}}");
        let text = "<think>\nhm\n</think>\n\n3";
        let tokens = format.conversation(&[Message::user("?"), Message::assistant(text)]).unwrap();
        let all = format.tokenizer.decode(&tokens.ids, false).unwrap();
        assert_eq!(all.matches("<think>").count(), 1, "{all}");
        assert!(all.contains("<think>\nhm\n</think>"), "{all}");
    }

    #[test]
    fn the_end_of_turn_is_what_the_template_writes() {
        let mut format = format();
        format.template = "{% for m in messages %}{{ m['content'] }}<｜User｜>\n{% endfor %}".into();
        assert_eq!(format.find_end_of_turn().unwrap(), Some(2));
        format.template = "{% for m in messages %}{{ m['content'].strip() }}\n{% endfor %}".into();
        assert_eq!(format.find_end_of_turn().unwrap(), None);
    }

    #[test]
    fn a_template_that_raises_says_so() {
        let mut format = format();
        format.template = "{{ raise_exception('only users here') }}".into();
        let message = format.render(&[Message::user("?")], true).unwrap_err().to_string();
        assert!(message.contains("only users here"), "{message}");
    }
}
