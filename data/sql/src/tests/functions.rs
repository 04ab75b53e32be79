use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, DictionaryArray, LargeStringArray, RecordBatch, StringArray, StringViewArray,
};
use datafusion::arrow::datatypes::Int32Type;
use datafusion::datasource::MemTable;
use tokens::tokenizer::Tokenizer;

use crate::{Format, FunctionHelp, Session, functions, session};

async fn value(session: &Session, expression: &str) -> String {
    let result = session.query(&format!("SELECT {expression} AS v"), 9).await;
    let text = result.unwrap_or_else(|e| panic!("{expression}: {e}")).text(Format::Csv, 0).unwrap();
    let value = text.trim_end().strip_prefix("v").unwrap().trim_start_matches('\n').to_owned();
    value.trim_matches('"').replace("\"\"", "\"")
}

/// The functions that give values and not tables.
fn of_texts() -> impl Iterator<Item = &'static FunctionHelp> {
    functions().into_iter().filter(|function| !function.signature.contains("-> table"))
}

#[tokio::test]
async fn every_example_gives_what_it_says() {
    let session = session(&[], None, None).await.unwrap();
    for function in of_texts().filter(|function| function.name != "tokens") {
        assert_eq!(value(&session, function.example).await, function.result, "{}", function.example);
        assert!(function.signature.starts_with(function.name) && function.example.contains(function.name));
    }
    assert_eq!(value(&session, "final_answer('<think>7?</think>it is 8')").await, "8");
}

#[tokio::test]
async fn null_gives_null() {
    let corpus: Vec<String> = (0..50).map(|n| format!("Mia has {n} apples.")).collect();
    let session = session(&[], Some(Tokenizer::train(&corpus, 300).unwrap()), None).await.unwrap();
    for function in of_texts() {
        let calls = if function.signature.contains(", ") {
            vec!["(NULL, 'a')", "('a', NULL)", "(NULL, NULL)", "(CAST(NULL AS text), 'a')"]
        } else {
            vec!["(NULL)", "(CAST(NULL AS text))"]
        };
        for call in calls {
            let call = format!("{}{call}", function.name);
            assert_eq!(value(&session, &format!("{call} IS NULL")).await, "true", "{call}");
        }
    }
    assert_eq!(value(&session, "think('no block') IS NULL").await, "true");
    assert_eq!(value(&session, "language('1 + 1') IS NULL").await, "true");
    assert_eq!(value(&session, "minhash(' . ') IS NULL").await, "true");
}

/// A column of each type that text comes in, with a null, and constants beside it.
#[tokio::test]
async fn columns_of_every_kind_of_text_give_the_same() {
    let session = session(&[], None, None).await.unwrap();
    let texts = [Some("<think>a</think>\\boxed{7}"), None, Some("the answer is 8"), Some("")];
    let columns: [ArrayRef; 4] = [
        Arc::new(StringArray::from_iter(texts)),
        Arc::new(LargeStringArray::from_iter(texts)),
        Arc::new(StringViewArray::from_iter(texts)),
        Arc::new(texts.into_iter().collect::<DictionaryArray<Int32Type>>()),
    ];
    let gold: ArrayRef = Arc::new(StringArray::from(vec!["7", "7", "7", "7"]));
    for column in columns {
        let kind = column.data_type().clone();
        let batch = RecordBatch::try_from_iter([("t", column), ("gold", Arc::clone(&gold))]).unwrap();
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
        session.context.deregister_table("c").unwrap();
        session.context.register_table("c", Arc::new(table)).unwrap();
        let csv = async |sql: &str| session.query(sql, 9).await.unwrap().text(Format::Csv, 0).unwrap();
        let found = csv(
            "SELECT think(t) AS a, final_answer(t) AS b, verify(t, gold) AS c, verify(t, 8) AS d, words(t) AS e FROM c",
        )
        .await;
        assert_eq!(
            found,
            "a,b,c,d,e\na,7,true,false,10\n,,,,\n,8,false,true,4\n\"\",,false,false,0\n".replace("\"\"", ""),
            "{kind}"
        );
        let found =
            csv("SELECT repetition(t)['duplicate_sentences'] AS r, compression(t) > 0 AS z, loops(t) AS l FROM c")
                .await;
        assert_eq!(found, "r,z,l\n0.0,true,0\n,,\n0.0,true,0\n0.0,true,0\n", "{kind}");
        let found = csv("SELECT jaccard(t, t) AS j, cardinality(minhash(t)) AS n, language(t) AS g FROM c").await;
        assert_eq!(found, "j,n,g\n1.0,20,\n,,\n1.0,20,\n0.0,,\n", "{kind}");
    }
}

#[tokio::test]
async fn tokens_counts_with_the_tokenizer_that_was_given() {
    let without = session(&[], None, None).await.unwrap();
    let message = without.query("SELECT tokens('a')", 1).await.unwrap_err().to_string();
    assert!(message.contains("no tokenizer to count with") && message.contains("--tokenizer"), "{message}");
    let corpus: Vec<String> = (0..50).map(|n| format!("Mia has {n} apples.")).collect();
    let tokenizer = Tokenizer::train(&corpus, 300).unwrap();
    let expected = tokenizer.encode("Mia has 7 apples.").unwrap().len();
    let session = session(&[], Some(tokenizer), None).await.unwrap();
    assert_eq!(value(&session, "tokens('Mia has 7 apples.')").await, expected.to_string());
}

#[tokio::test]
async fn what_a_function_cannot_take_is_said() {
    let session = session(&[], None, None).await.unwrap();
    let error = async |sql: &str| session.query(sql, 1).await.unwrap_err().to_string();
    let message = error("SELECT think(['a'])").await;
    assert!(
        message.contains("the function think: it takes text, not text[]") && message.contains("messages[2]"),
        "{message}"
    );
    let message = error("SELECT verify('a')").await;
    assert!(message.contains("it was given 1 arguments; it is verify(text, gold)"), "{message}");
    error("SELECT think()").await;
    let message = error("SELECT thinks('a')").await;
    assert!(message.contains("thinks") && message.contains("think, answer, final_answer"), "{message}");
}

#[tokio::test]
async fn hard_texts_do_no_harm() {
    let session = session(&[], None, None).await.unwrap();
    for text in [
        "</think>",
        "<think>",
        "\\boxed{",
        "\u{0}",
        "\u{202e}数\u{1F469}\u{200D}\u{1F4BB}",
        "$$$`\\(",
        "'",
        "{\"a\": 1",
    ] {
        for function in of_texts().filter(|function| function.name != "tokens") {
            let text = text.replace('\'', "''");
            let call =
                if function.signature.contains(", ") { format!("('{text}', '{text}')") } else { format!("('{text}')") };
            session.query(&format!("SELECT {}{call}", function.name), 1).await.unwrap();
        }
    }
}
