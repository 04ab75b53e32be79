//! A tokenizer read from `tokenizer.json`, or trained on a corpus with R1-Distill's special tokens.
//!
//! Byte-level BPE of the usual kinds (Qwen2 to Qwen3, Llama 3, SmolLM2, R1-Distill, own ones) is encoded by a way of our own
//! (`fast`), everything else by the tokenizers library; the ids are the same.
//!
//! Trained ones are byte-level BPE behind Qwen2's pre-tokenizer, because that is the expression transformers applies to
//! `model_type: qwen2` whatever the file says: any other choice would tokenize differently there.

mod classes;
mod fast;
mod nfc;
mod pieces;
mod split;

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    AddedToken, NormalizedString, Normalizer, PreTokenizerWrapper, SplitDelimiterBehavior, TokenizerBuilder,
};

use self::fast::Fast;
use records::artifact::write_bytes;
use records::panics::catch_panic;
use records::record::short_hash;
use records::{BoxError, Error, Result, disk};

/// Qwen2's pre-tokenizer expression (transformers, `tokenization_qwen2.py`, `PRETOKENIZE_REGEX`).
const QWEN2_SPLIT: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The special tokens of DeepSeek-R1-Distill, in id order: BOS, EOS, user, assistant.
pub const R1_SPECIAL: [&str; 4] = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"];

/// Text to token ids and back. A copy shares everything with what it is a copy of.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    /// `None` where the library must encode.
    fast: Option<Arc<Fast>>,
    hash: String,
    misplaced: Option<Misplaced>,
}

/// An added token that has another id than its `tokenizer.json` says. The tokenizers library numbers those that are not in
/// the model's vocabulary anew, behind it and without a word: the model would be fed other tokens than it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misplaced {
    /// Its text.
    pub token: String,
    /// The id in the file.
    pub declared: u32,
    /// The id that encoding gives.
    pub actual: Option<u32>,
}

/// What `tokenizer.json` says of added tokens.
#[derive(Deserialize)]
struct Declared {
    #[serde(default)]
    added_tokens: Vec<DeclaredToken>,
}

#[derive(Deserialize)]
struct DeclaredToken {
    id: u32,
    content: String,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    pub fn from_file(path: &Path) -> Result<Self> {
        let text = disk::read_if_there(path)?.ok_or_else(|| {
            let remedy = "a model folder needs config.json, tokenizer.json and *.safetensors";
            Error::malformed(path, "there is no tokenizer here", remedy)
        })?;
        Self::from_json(&text)
            .map_err(|e| Error::malformed(path, format!("not a readable tokenizer: {e}"), "download it again"))
    }

    /// What a `tokenizer.json` says.
    fn from_json(text: &str) -> std::result::Result<Self, tokenizers::Error> {
        let mut inner: tokenizers::Tokenizer = catch_panic(|| text.parse())??;
        // What the file was trained with is left in some; every text here is encoded whole and alone.
        inner.with_truncation(None)?;
        inner.with_padding(None);
        let declared: Declared = serde_json::from_str(text)?;
        let misplaced = declared.added_tokens.into_iter().find_map(|DeclaredToken { id, content }| {
            let actual = inner.token_to_id(&content);
            (actual != Some(id)).then_some(Misplaced { token: content, declared: id, actual })
        });
        Ok(Self {
            fast: Fast::of(&inner).map(Arc::new),
            inner: Arc::new(inner),
            hash: short_hash(text.as_bytes()),
            misplaced,
        })
    }

    /// Trains a byte-level BPE of at most `vocab_size` tokens, special tokens and think tags included.
    pub fn train(corpus: &[String], vocab_size: usize) -> Result<Self> {
        let failed = |e: BoxError| Error::engine("training a tokenizer", e);
        let split = Split::new(SplitPattern::Regex(QWEN2_SPLIT.into()), SplitDelimiterBehavior::Isolated, false)
            .map_err(failed)?;
        let byte_level = ByteLevel::new(false, false, false);
        let pre_tokenizer =
            Sequence::new(vec![PreTokenizerWrapper::Split(split), PreTokenizerWrapper::ByteLevel(byte_level)]);
        let mut tokenizer = TokenizerBuilder::new()
            .with_model(BPE::default())
            .with_normalizer(Some(NFC))
            .with_pre_tokenizer(Some(pre_tokenizer))
            .with_post_processor(Some(byte_level))
            .with_decoder(Some(byte_level))
            .build()
            .map_err(failed)?;
        let mut special: Vec<AddedToken> = R1_SPECIAL.iter().map(|t| AddedToken::from(*t, true)).collect();
        special.extend(["<think>", "</think>"].map(|t| AddedToken::from(t, false)));
        let mut trainer = BpeTrainerBuilder::new()
            .vocab_size(vocab_size)
            .min_frequency(2)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .special_tokens(special)
            .build();
        tokenizer.train(&mut trainer, corpus.iter()).map_err(failed)?;
        let json = tokenizer.to_string(true).map_err(failed)?;
        // The typed tokenizer and the one every folder is read as are different types: go through the file form.
        Self::from_json(&json).map_err(failed)
    }

    /// Publishes `tokenizer.json`.
    pub fn save(&self, path: &Path) -> Result<()> {
        let json = self.inner.to_string(true).map_err(|e| Error::engine("encoding the tokenizer", e))?;
        write_bytes(path, json.as_bytes())
    }

    /// The ids of a text. Special tokens written in the text are recognised; none is added.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        match &self.fast {
            Some(fast) => {
                let mut found = Vec::with_capacity(text.len() / 4);
                fast.encode(&self.inner, text, |ids| found.extend_from_slice(ids))?;
                Ok(found)
            }
            None => self.encode_by_library(text),
        }
    }

    /// How many ids a text has.
    pub fn count(&self, text: &str) -> Result<usize> {
        match &self.fast {
            Some(fast) => {
                let mut count = 0;
                fast.encode(&self.inner, text, |ids| count += ids.len())?;
                Ok(count)
            }
            None => Ok(self.encode_by_library(text)?.len()),
        }
    }

    /// What `encode` gives, as the tokenizers library finds it: much slower for most tokenizers.
    pub fn encode_by_library(&self, text: &str) -> Result<Vec<u32>> {
        let failed = |e: BoxError| Error::engine("tokenizing", e);
        // `fast`: without the offsets that nobody here reads. It panics where its expressions give up on a text.
        let encoded = catch_panic(|| self.inner.encode_fast(text, false)).map_err(|e| failed(e.into()))?;
        let encoding = encoded.map_err(failed)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Names the tokenizer: a hash of its `tokenizer.json`.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// A text as the tokenizer's normaliser leaves it (NFC for Qwen's): what decoding can give back.
    pub fn normalized<'a>(&self, text: &'a str) -> Result<Cow<'a, str>> {
        let Some(normalizer) = self.inner.get_normalizer() else { return Ok(text.into()) };
        let mut normalized = NormalizedString::from(text);
        normalizer.normalize(&mut normalized).map_err(|e| Error::engine("normalising a text", e))?;
        Ok(normalized.get().to_owned().into())
    }

    /// The text of ids; special tokens are left out if `skip_special`.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        self.inner.decode(ids, skip_special).map_err(|e| Error::engine("decoding tokens", e))
    }

    /// The id of one token by its exact text.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The text of one id.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Whether an id is an added token (special or not) rather than a piece of text.
    pub fn is_added(&self, id: u32) -> bool {
        self.inner.get_added_vocabulary().get_added_tokens_decoder().contains_key(&id)
    }

    /// An added token whose id is not the one its file says; there should be none.
    pub fn misplaced(&self) -> Option<&Misplaced> {
        self.misplaced.as_ref()
    }

    /// Tokens in the vocabulary, added ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trained_tokenizer_round_trips_any_text_and_splits_digits() {
        let corpus: Vec<String> = (0..200).map(|n| format!("Mia has {n} apples.\nShe buys {} more.", n + 3)).collect();
        let tokenizer = Tokenizer::train(&corpus, 400).unwrap();
        assert!(tokenizer.vocab_size() <= 400);
        for text in ["Mia has 14 apples.", "ünïcode ✓ \t\n\n x", "<think>\n1 + 2\n</think>\n\n\\boxed{3}"] {
            let ids = tokenizer.encode(text).unwrap();
            assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
        }
        assert_eq!(tokenizer.encode("147").unwrap().len(), 3);
        for (id, token) in R1_SPECIAL.iter().enumerate() {
            assert_eq!(tokenizer.token_id(token), Some(id as u32));
            assert_eq!(tokenizer.encode(token).unwrap(), [id as u32]);
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokenizer.json");
        tokenizer.save(&path).unwrap();
        let again = Tokenizer::from_file(&path).unwrap();
        let text = "<｜User｜>How many apples?<｜Assistant｜><think>";
        assert_eq!(again.encode(text).unwrap(), tokenizer.encode(text).unwrap());
    }
}
