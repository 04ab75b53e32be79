//! A chat template: conversations to prompt text, and a trace to token ids with its loss mask.
//!
//! A training example is the prompt exactly as inference will render it (`add_generation_prompt`), then the
//! assistant's text, then the token that ends its turn. The two parts are tokenized apart, because inference has only
//! the first. The template never renders the text that is trained on: R1-Distill's own template drops the thinking from
//! it. Earlier turns of a conversation are part of the prompt, and there the template does what it does at inference.

use std::path::Path;

use serde_json::Value;

use crate::template::Template;
use crate::tokenizer::{R1_SPECIAL, Tokenizer};
use records::artifact::read_json;
use records::record::Message;
use records::{Error, Result, disk};

/// The template written for models that are trained from scratch: DeepSeek-R1's roles and tokens, no system prompt.
pub const R1_TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}{% elif message['role'] == 'assistant' %}{{ '<｜Assistant｜>' + message['content'] + eos_token }}{% else %}{{ message['content'] }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}";

/// A tokenizer with its chat template and the ids that matter to training and sampling.
#[derive(Debug, Clone)]
pub struct ChatFormat {
    /// Text to ids and back.
    pub tokenizer: Tokenizer,
    /// The chat template.
    pub template: Template,
    /// Beginning-of-sequence text, where the tokenizer has one.
    pub bos: Option<String>,
    /// End-of-sequence text.
    pub eos: String,
    /// Padding text, where the tokenizer has one. Packed rows hold no padding; what matters is what others mask with it.
    pub pad: Option<String>,
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
        let mut config: Value = read_json(&path)?;
        if let Some(map) = disk::if_there(dir.join("special_tokens_map.json"))? {
            let map: Value = read_json(&map)?;
            for name in ["bos_token", "eos_token", "pad_token"] {
                if config.get(name).is_none() {
                    config[name] = map[name].clone();
                }
            }
        }
        let beside = dir.join("chat_template.jinja");
        let template = match disk::read_if_there(&beside)? {
            Some(template) => template,
            None => template_of(&config["chat_template"]).ok_or_else(|| {
                Error::malformed(
                    &path,
                    "there is no chat_template",
                    "take the template of the instruct version of this model and put it into chat_template.jinja",
                )
            })?,
        };
        let eos = special_text(&config["eos_token"])
            .ok_or_else(|| Error::malformed(&path, "there is no eos_token", "name the token that ends a text"))?;
        let [bos, pad] = ["bos_token", "pad_token"].map(|name| special_text(&config[name]));
        Self::new(tokenizer, template, bos, eos, pad)
    }

    /// A tokenizer made by [`Tokenizer::train`] with [`R1_TEMPLATE`].
    pub fn r1(tokenizer: Tokenizer) -> Result<Self> {
        let [bos, eos, ..] = R1_SPECIAL.map(str::to_owned);
        Self::new(tokenizer, R1_TEMPLATE.into(), Some(bos), eos.clone(), Some(eos))
    }

    fn new(
        tokenizer: Tokenizer,
        template: String,
        bos: Option<String>,
        eos: String,
        pad: Option<String>,
    ) -> Result<Self> {
        let eos_id = tokenizer.token_id(&eos).ok_or_else(|| {
            Error::invalid("eos_token", format!("{eos:?} is not in the vocabulary"), "name a token of tokenizer.json")
        })?;
        let template = Template::new(template)?;
        let mut format = Self { tokenizer, template, bos, eos, pad, eos_id, end_of_turn_id: eos_id };
        format.end_of_turn_id = format.find_end_of_turn()?.unwrap_or(eos_id);
        Ok(format)
    }

    /// The id of `bos`.
    pub fn bos_id(&self) -> Option<u32> {
        self.bos.as_deref().and_then(|token| self.tokenizer.token_id(token))
    }

    /// The id of `pad`.
    pub fn pad_id(&self) -> Option<u32> {
        self.pad.as_deref().and_then(|token| self.tokenizer.token_id(token))
    }

    /// Renders the template.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let named =
            [("bos_token", self.bos.as_deref()), ("eos_token", Some(&*self.eos)), ("pad_token", self.pad.as_deref())];
        let special: Vec<(&str, &str)> = named.into_iter().filter_map(|(name, token)| Some((name, token?))).collect();
        self.template.render(messages, add_generation_prompt, &special)
    }

    /// Whether the template writes an assistant's thinking as it is; R1-Distill's does not.
    pub fn template_keeps_thinking(&self) -> Result<bool> {
        const MARK: &str = "a7f3thinking";
        let answer = Message::assistant(format!("<think>\n{MARK}\n</think>\n\nanswer"));
        Ok(self.render(&[Message::user("question"), answer], false)?.contains(MARK))
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
        let completion = completion_after(&prompt_text, content);
        ids.extend(self.tokenizer.encode(completion)?);
        let decoded = self.tokenizer.decode(&ids[prompt_len..], false)?;
        if decoded != completion && !same_text(&self.tokenizer.normalized(completion)?, &decoded) {
            return Err(Error::invalid(
                "the tokenizer",
                format!("a trace's text does not survive it: {}", first_difference(completion, &decoded)),
                "use a base whose tokenizer can write every character, or leave such traces out in curate.policy",
            ));
        }
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

/// Whether decoding gave the text back, spaces aside: tokenizers of the SentencePiece kind move those.
fn same_text(text: &str, decoded: &str) -> bool {
    let visible = |text: &str| -> Vec<char> { text.chars().filter(|c| !c.is_whitespace() && *c != '▁').collect() };
    visible(text) == visible(decoded)
}

/// Both texts around the place where they part.
fn first_difference(text: &str, decoded: &str) -> String {
    let at = text.chars().zip(decoded.chars()).take_while(|(a, b)| a == b).count();
    let around = |text: &str| text.chars().skip(at.saturating_sub(20)).take(40).collect::<String>();
    format!("{:?} becomes {:?}", around(text), around(decoded))
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
    fn what_comes_before_a_question_is_prompt_and_not_learned() {
        let format = format();
        let system = Message { role: "system".into(), content: "Be brief.".into() };
        let before = [system, Message::user("1 + 1?"), Message::assistant("2"), Message::user("And 1 + 2?")];
        let text = "<think>\n1 + 2 = 3.\n</think>\n\n3";
        let tokens = format.conversation(&[before.as_slice(), &[Message::assistant(text)]].concat()).unwrap();
        let prompt = format.tokenizer.decode(&tokens.ids[..tokens.prompt_len], false).unwrap();
        let eos = &format.eos;
        assert_eq!(
            prompt.trim_start_matches(format.bos.as_deref().unwrap()),
            format!("Be brief.<｜User｜>1 + 1?<｜Assistant｜>2{eos}<｜User｜>And 1 + 2?<｜Assistant｜>")
        );
        assert_eq!(tokens.ids[..tokens.prompt_len], format.prompt_ids(&before).unwrap());
    }

    #[test]
    fn a_template_that_opens_the_thinking_does_not_get_it_twice() {
        let mut format = format();
        format.template = Template::new(format!("{R1_TEMPLATE}{{{{ '<think>\\n' }}}}")).unwrap();
        let text = "<think>\nhm\n</think>\n\n3";
        let tokens = format.conversation(&[Message::user("?"), Message::assistant(text)]).unwrap();
        let all = format.tokenizer.decode(&tokens.ids, false).unwrap();
        assert_eq!(all.matches("<think>").count(), 1, "{all}");
        assert!(all.contains("<think>\nhm\n</think>"), "{all}");
    }

    #[test]
    fn the_end_of_turn_is_what_the_template_writes() {
        let mut format = format();
        format.template = Template::new("{% for m in messages %}{{ m['content'] }}<｜User｜>\n{% endfor %}").unwrap();
        assert_eq!(format.find_end_of_turn().unwrap(), Some(2));
        format.template = Template::new("{% for m in messages %}{{ m['content'].strip() }}\n{% endfor %}").unwrap();
        assert_eq!(format.find_end_of_turn().unwrap(), None);
    }

    #[test]
    fn a_template_that_raises_says_so() {
        let mut format = format();
        format.template = Template::new("{{ raise_exception('only users here') }}").unwrap();
        let message = format.render(&[Message::user("?")], true).unwrap_err().to_string();
        assert!(message.contains("only users here"), "{message}");
    }

    #[test]
    fn a_tokenizer_that_loses_text_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let words = serde_json::json!({
            "version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"},
            "model": {"type": "WordLevel", "unk_token": "<unk>", "vocab": {"<unk>": 0, "<eos>": 1, "forty": 2, "two": 3}},
        });
        std::fs::write(dir.path().join("tokenizer.json"), words.to_string()).unwrap();
        let config = serde_json::json!({"eos_token": "<eos>", "chat_template": "{{ messages[0].content }}"});
        std::fs::write(dir.path().join("tokenizer_config.json"), config.to_string()).unwrap();
        let format = ChatFormat::from_dir(dir.path()).unwrap();
        let with = |text: &str| format.conversation(&[Message::user("?"), Message::assistant(text)]);
        assert_eq!(with("forty  two").unwrap().ids, [0, 2, 3, 1]);
        let message = with("forty three").unwrap_err().to_string();
        assert!(message.contains("does not survive") && message.contains("three"), "{message}");
        // A template, or a map of special tokens, that stands apart and cannot be read is not one that is not there.
        for name in ["chat_template.jinja", "special_tokens_map.json"] {
            let path = dir.path().join(name);
            std::os::unix::fs::symlink(name, &path).unwrap();
            let message = ChatFormat::from_dir(dir.path()).map(drop).unwrap_err().to_string();
            assert!(message.contains(name), "{message}");
            std::fs::remove_file(&path).unwrap();
            std::fs::create_dir(&path).unwrap();
            let message = ChatFormat::from_dir(dir.path()).map(drop).unwrap_err().to_string();
            assert!(message.contains(name), "{message}");
            std::fs::remove_dir(&path).unwrap();
        }
        std::fs::remove_file(dir.path().join("tokenizer.json")).unwrap();
        std::os::unix::fs::symlink("tokenizer.json", dir.path().join("tokenizer.json")).unwrap();
        let message = ChatFormat::from_dir(dir.path()).map(drop).unwrap_err().to_string();
        assert!(message.contains("tokenizer.json") && !message.contains("there is no tokenizer"), "{message}");
    }

    #[test]
    fn a_template_that_drops_thinking_is_known() {
        let mut format = format();
        assert!(format.template_keeps_thinking().unwrap());
        let dropping = "{% for m in messages %}{{ m.content.split('</think>')[-1] }}{{ eos_token }}{% endfor %}";
        format.template = Template::new(dropping).unwrap();
        assert!(!format.template_keeps_thinking().unwrap());
        let text = "<think>\nkept\n</think>\n\n3";
        let ids = format.conversation(&[Message::user("?"), Message::assistant(text)]).unwrap().ids;
        assert!(format.tokenizer.decode(&ids, false).unwrap().contains(text));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_all_there_after_the_prompt(question in "\\PC{0,40}", text in "\\PC{1,60}") {
            proptest::prop_assume!(!text.trim().is_empty());
            let format = format();
            let tokens = format.conversation(&[Message::user(question.as_str()), Message::assistant(text.as_str())]).unwrap();
            let prompt = format.prompt_ids(&[Message::user(question)]).unwrap();
            proptest::prop_assert_eq!(&tokens.ids[..tokens.prompt_len], &prompt[..]);
            let end = tokens.ids.len() - 1;
            let decoded = format.tokenizer.decode(&tokens.ids[tokens.prompt_len..end], false).unwrap();
            let normalized = format.tokenizer.normalized(&text).unwrap();
            proptest::prop_assert_eq!(decoded, normalized.into_owned());
        }
    }
}
