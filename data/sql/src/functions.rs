//! Functions on texts, for questions in SQL. NULL in, NULL out. They are computed by the code that judges traces, so that
//! a query and a verdict never disagree.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, ListBuilder, StringArray, StructArray,
    UInt64Builder,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use rayon::prelude::*;
use records::think::split;
use text::duplicates::{Near, Sketcher, jaccard};
use text::signals::{degenerate, language};
use text::words::for_each_word;
use tokens::tokenizer::Tokenizer;
use verify::{AnswerKind, extract_answer, verify};

use super::arguments::{FunctionHelp, is_plain, refused, texts};
use super::near;

type Result<T> = std::result::Result<T, DataFusionError>;

/// The functions, in the order in which they are explained.
pub fn functions() -> Vec<&'static FunctionHelp> {
    FUNCTIONS.iter().map(|(help, _)| help).chain([&near::HELP]).collect()
}

/// All functions as DataFusion takes them. `tokens` refuses to be planned without a tokenizer.
pub(super) fn scalar_functions(tokenizer: Option<&Arc<Tokenizer>>) -> Vec<ScalarUDF> {
    FUNCTIONS
        .iter()
        .map(|(help, body)| {
            ScalarUDF::from(TextFunction {
                help,
                body: *body,
                tokenizer: tokenizer.cloned(),
                signature: Signature::user_defined(Volatility::Immutable),
            })
        })
        .collect()
}

/// How a function is computed, which also decides its type.
#[derive(Debug, Clone, Copy)]
enum Body {
    Text(fn(&str) -> Option<String>),
    Count(fn(&str) -> i64),
    Ratio(fn(&str) -> f32),
    Holds(fn(&str, &str) -> bool),
    Jaccard,
    Minhash,
    Repetition,
    Tokens,
}

const fn help(
    name: &'static str,
    signature: &'static str,
    summary: &'static str,
    example: &'static str,
    result: &'static str,
) -> FunctionHelp {
    FunctionHelp { name, signature, summary, example, result }
}

static FUNCTIONS: [(FunctionHelp, Body); 13] = [
    (
        help(
            "think",
            "think(text) -> text",
            "The thinking block; NULL if there is no complete one",
            "think('<think>1 + 1</think>It is 2.')",
            "1 + 1",
        ),
        Body::Text(|text| split(None, text).0),
    ),
    (
        help(
            "answer",
            "answer(text) -> text",
            "What follows the thinking block; all of it if there is none",
            "answer('<think>1 + 1</think>It is 2.')",
            "It is 2.",
        ),
        Body::Text(|text| Some(split(None, text).1)),
    ),
    (
        help(
            "final_answer",
            "final_answer(text) -> text",
            "The last \\boxed{} after the thinking, else what is announced as the answer, else the last number",
            "final_answer('So it is \\boxed{\\frac{1}{2}}.')",
            "\\frac{1}{2}",
        ),
        Body::Text(|text| extract_answer(&split(None, text).1, AnswerKind::Text)),
    ),
    (
        help(
            "verify",
            "verify(text, gold) -> boolean",
            "Whether the final answer of the text equals the gold answer, as curation decides it",
            "verify('The answer is \\boxed{0.50}.', '\\frac{1}{2}')",
            "true",
        ),
        Body::Holds(|text, gold| verify(gold, &split(None, text).1).correct()),
    ),
    (
        help(
            "tokens",
            "tokens(text) -> bigint",
            "Tokens of the text; needs --tokenizer",
            "tokens('Mia has 7 apples.')",
            "",
        ),
        Body::Tokens,
    ),
    (
        help(
            "words",
            "words(text) -> bigint",
            "Words; a sign such as + is one, and so is each character of a script without spaces",
            "words('Is 7+8 = 15?')",
            "6",
        ),
        Body::Count(|text| {
            let mut count = 0;
            for_each_word(text, |_, _| count += 1);
            count
        }),
    ),
    (
        help(
            "language",
            "language(text) -> text",
            "The language of the prose (ISO 639-3), maths and code left out; NULL if there is too little",
            "language('Ich habe sieben Äpfel, und du hast acht Birnen.')",
            "deu",
        ),
        Body::Text(|text| language::census(text).language.map(str::to_owned)),
    ),
    (
        help(
            "repetition",
            "repetition(text) -> struct",
            "most_repeated_20gram, distinct_20grams and duplicate_sentences, as in the verdicts",
            "repetition(repeat('no wait ', 20))['most_repeated_20gram']",
            "11",
        ),
        Body::Repetition,
    ),
    (
        help(
            "loops",
            "loops(text) -> bigint",
            "Characters at the end that are one piece at least 4 times over; 0 if there is no such loop",
            "loops('So: ' || repeat('no wait ', 20))",
            "160",
        ),
        Body::Count(|text| i64::from(degenerate::tail_loop(text))),
    ),
    (
        help(
            "compression",
            "compression(text) -> float",
            "Bytes by compressed bytes (zstd, level 1); large is repetitive",
            "compression(repeat('no wait ', 200)) > 20",
            "true",
        ),
        Body::Ratio(degenerate::compression),
    ),
    (
        help(
            "jaccard",
            "jaccard(a, b) -> double",
            "Share of the sequences of 5 words that two texts have in common; case, spaces and markup do not count",
            "round(jaccard('one two three four five six', 'One two, three four FIVE seven'), 2)",
            "0.33",
        ),
        Body::Jaccard,
    ),
    (
        help(
            "minhash",
            "minhash(text) -> ubigint[]",
            "20 hashes; texts that share one are probably near duplicates (0.998 at a Jaccard similarity of 0.8)",
            "minhash('seven apples, eight pears') = minhash('Seven apples; eight pears!')",
            "true",
        ),
        Body::Minhash,
    ),
    (
        help(
            "foreign_script",
            "foreign_script(text) -> float",
            "Share of the prose's letters that are not in its main script",
            "round(foreign_script('apples 苹果'), 2)",
            "0.25",
        ),
        Body::Ratio(|text| language::census(text).foreign_script),
    ),
];

#[derive(Debug)]
struct TextFunction {
    help: &'static FunctionHelp,
    body: Body,
    tokenizer: Option<Arc<Tokenizer>>,
    signature: Signature,
}

impl PartialEq for TextFunction {
    fn eq(&self, other: &Self) -> bool {
        self.help == other.help
    }
}

impl Eq for TextFunction {}

impl Hash for TextFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.help.name.hash(state);
    }
}

impl ScalarUDFImpl for TextFunction {
    fn name(&self) -> &str {
        self.help.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Every argument is text, or a number or truth value that becomes text.
    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let as_text = |given: &DataType| match given {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => given.clone(),
            given if is_plain(given) => DataType::Utf8,
            other => other.clone(),
        };
        Ok(given.iter().map(as_text).collect())
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        let FunctionHelp { name, signature, .. } = self.help;
        let wanted = if matches!(self.body, Body::Holds(_) | Body::Jaccard) { 2 } else { 1 };
        if given.len() != wanted {
            return Err(refused(
                name,
                &format!("it was given {} arguments", given.len()),
                &format!("it is {signature}"),
            ));
        }
        if let Some(other) = given.iter().find(|given| !given.is_string() && !is_plain(given)) {
            let problem = format!("it takes text, not {}", super::describe::type_name(other));
            return Err(refused(name, &problem, "name a part of it, as in messages[2]['content']"));
        }
        if matches!(self.body, Body::Tokens) && self.tokenizer.is_none() {
            let remedy = "start with --tokenizer PATH (a tokenizer.json, or the folder that holds one)";
            return Err(refused(name, "there is no tokenizer to count with", remedy));
        }
        Ok(match self.body {
            Body::Text(_) => DataType::Utf8,
            Body::Count(_) | Body::Tokens => DataType::Int64,
            Body::Ratio(_) => DataType::Float32,
            Body::Holds(_) => DataType::Boolean,
            Body::Jaccard => DataType::Float64,
            Body::Minhash => DataType::new_list(DataType::UInt64, true),
            Body::Repetition => DataType::Struct(repetition_fields()),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let result = match arrays.as_slice() {
            [a] => self.of_one(&texts(a)?)?,
            [a, b] => self.of_two(&texts(a)?, &texts(b)?)?,
            _ => return exec_err!("{} has no such arguments", self.help.name),
        };
        Ok(if constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)
        } else {
            ColumnarValue::Array(result)
        })
    }
}

impl TextFunction {
    fn of_one(&self, texts: &[Option<&str>]) -> Result<ArrayRef> {
        Ok(match self.body {
            Body::Text(f) => Arc::new(each(texts, f).into_iter().collect::<StringArray>()),
            Body::Count(f) => Arc::new(each(texts, |text| Some(f(text))).into_iter().collect::<Int64Array>()),
            Body::Ratio(f) => Arc::new(each(texts, |text| Some(f(text))).into_iter().collect::<Float32Array>()),
            Body::Minhash => minhash(texts),
            Body::Repetition => repetition(texts),
            Body::Tokens => {
                let Some(tokenizer) = &self.tokenizer else { return exec_err!("tokens(text) needs a tokenizer") };
                let counts = each(texts, |text| Some(tokenizer.count(text).map(|count| count as i64)));
                let counts = counts.into_iter().map(Option::transpose).collect::<std::result::Result<Vec<_>, _>>();
                Arc::new(Int64Array::from(counts.map_err(|e| DataFusionError::External(Box::new(e)))?))
            }
            Body::Holds(_) | Body::Jaccard => return exec_err!("{} takes two texts", self.help.name),
        })
    }

    fn of_two(&self, a: &[Option<&str>], b: &[Option<&str>]) -> Result<ArrayRef> {
        let pairs: Vec<(&str, &str)> = a.iter().zip(b).map(|(a, b)| a.zip(*b).unwrap_or_default()).collect();
        let both = |row: usize| a[row].is_some() && b[row].is_some();
        Ok(match self.body {
            Body::Holds(f) => {
                let values: Vec<bool> = pairs.par_iter().map(|(a, b)| f(a, b)).collect();
                Arc::new((0..pairs.len()).map(|row| both(row).then(|| values[row])).collect::<BooleanArray>())
            }
            Body::Jaccard => {
                let similarity = |sketcher: &mut Sketcher, (a, b): &(&str, &str)| {
                    let a = sketcher.shingle_set(a);
                    jaccard(&a, &sketcher.shingle_set(b))
                };
                let values: Vec<f64> = pairs.par_iter().map_init(|| Sketcher::new(Near::OURS), similarity).collect();
                Arc::new((0..pairs.len()).map(|row| both(row).then(|| values[row])).collect::<Float64Array>())
            }
            _ => return exec_err!("{} takes one text", self.help.name),
        })
    }
}

fn each<T: Send>(texts: &[Option<&str>], of: impl Fn(&str) -> Option<T> + Sync) -> Vec<Option<T>> {
    texts.par_iter().map(|text| text.and_then(&of)).collect()
}

fn minhash(texts: &[Option<&str>]) -> ArrayRef {
    let bands = |sketcher: &mut Sketcher, text: Option<&str>| {
        let mut bands = Vec::with_capacity(Near::OURS.bands);
        let (_, shingles) = sketcher.sketch(text?, &mut bands);
        // Texts without words are not near duplicates of each other.
        (shingles > 0).then_some(bands)
    };
    let all: Vec<Option<Vec<u64>>> = texts.par_iter().copied().map_init(|| Sketcher::new(Near::OURS), bands).collect();
    let mut lists = ListBuilder::new(UInt64Builder::new());
    for bands in all {
        lists.append_option(bands.map(|bands| bands.into_iter().map(Some)));
    }
    Arc::new(lists.finish())
}

fn repetition_fields() -> Fields {
    Fields::from(vec![
        Field::new("most_repeated_20gram", DataType::Int64, true),
        Field::new("distinct_20grams", DataType::Float32, true),
        Field::new("duplicate_sentences", DataType::Float32, true),
    ])
}

fn repetition(texts: &[Option<&str>]) -> ArrayRef {
    let found = each(texts, |text| Some((degenerate::repetition(text), degenerate::duplicate_sentences(text))));
    let most = found.iter().map(|row| row.as_ref().map(|(r, _)| i64::from(r.most_repeated))).collect::<Int64Array>();
    let distinct = found.iter().map(|row| row.as_ref().map(|(r, _)| r.distinct)).collect::<Float32Array>();
    let lines = found.iter().map(|row| row.as_ref().map(|(_, lines)| *lines)).collect::<Float32Array>();
    let valid = found.iter().map(Option::is_some).collect::<NullBuffer>();
    Arc::new(StructArray::new(
        repetition_fields(),
        vec![Arc::new(most), Arc::new(distinct), Arc::new(lines)],
        Some(valid),
    ))
}
