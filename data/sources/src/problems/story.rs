//! The vocabulary of the word problems: people, things and phrasings. In the templates `{name}` is the person,
//! `{They}` the pronoun, `{things}` the noun and `{n}` a number.

/// Names with their pronouns.
pub(super) const PEOPLE: [(&str, &str); 24] = [
    ("Mia", "She"),
    ("Ana", "She"),
    ("Zoe", "She"),
    ("Eva", "She"),
    ("Ida", "She"),
    ("Lea", "She"),
    ("Nora", "She"),
    ("Rosa", "She"),
    ("Sara", "She"),
    ("Lucy", "She"),
    ("Emma", "She"),
    ("Vera", "She"),
    ("Tom", "He"),
    ("Ben", "He"),
    ("Sam", "He"),
    ("Max", "He"),
    ("Leo", "He"),
    ("Ivo", "He"),
    ("Omar", "He"),
    ("Hugo", "He"),
    ("Paul", "He"),
    ("Noah", "He"),
    ("Luis", "He"),
    ("Raj", "He"),
];

/// A small world in which problems of one kind play.
pub(super) struct Theme {
    /// The prompt's kind.
    pub(super) kind: &'static str,
    /// What is counted.
    pub(super) things: &'static [&'static str],
    /// The first sentence of the question.
    pub(super) opening: &'static str,
    /// The same as the first line of the thinking.
    pub(super) start: &'static str,
    /// Phrasings of an addition, without the full stop.
    pub(super) add: &'static [&'static str],
    /// Of a subtraction.
    pub(super) subtract: &'static [&'static str],
    /// Of a doubling.
    pub(super) double: &'static [&'static str],
    /// Of a tripling.
    pub(super) triple: &'static [&'static str],
    /// Of a halving.
    pub(super) halve: &'static [&'static str],
    /// The last sentence of the question.
    pub(super) question: &'static str,
    /// The last line of the thinking, after "So".
    pub(super) conclusion: &'static str,
    /// The answer.
    pub(super) answer: &'static str,
}

/// All kinds of problems.
pub(super) const THEMES: [Theme; 4] = [
    Theme {
        kind: "shop",
        things: &["apples", "pens", "books", "eggs", "cups", "hats"],
        opening: "{name} has {n} {things}.",
        start: "{name} starts with {n} {things}.",
        add: &["{They} buys {n} more", "{They} gets {n} more"],
        subtract: &["{They} sells {n}", "{They} gives away {n}"],
        double: &["{They} doubles them", "The shop doubles them"],
        triple: &["{They} triples them", "The shop triples them"],
        halve: &["{They} sells half of them", "{They} gives away half of them"],
        question: "How many {things} does {name} have?",
        conclusion: "{name} has {n} {things}.",
        answer: "{name} has \\boxed{{n}} {things}.",
    },
    Theme {
        kind: "bus",
        things: &["people", "pupils", "riders", "guests", "fans", "players"],
        opening: "{name} drives a bus with {n} {things}.",
        start: "The bus starts with {n} {things}.",
        add: &["{n} more get on", "At a stop {n} get on"],
        subtract: &["{n} get off", "At a stop {n} get off"],
        double: &["The number doubles", "The crowd doubles"],
        triple: &["The number triples", "The crowd triples"],
        halve: &["Half of them get off", "At a stop half get off"],
        question: "How many {things} are on the bus?",
        conclusion: "the bus has {n} {things}.",
        answer: "The bus has \\boxed{{n}} {things}.",
    },
    Theme {
        kind: "garden",
        things: &["roses", "tulips", "herbs", "beans", "melons", "ferns"],
        opening: "{name} grows {n} {things}.",
        start: "{name} starts with {n} {things}.",
        add: &["{They} plants {n} more", "{n} more come up"],
        subtract: &["A goat eats {n}", "{They} cuts {n}"],
        double: &["In the rain they double", "{They} doubles the bed"],
        triple: &["In the sun they triple", "{They} triples the bed"],
        halve: &["Half of them dry up", "{They} cuts half of them"],
        question: "How many {things} are left in the garden?",
        conclusion: "the garden has {n} {things}.",
        answer: "The garden has \\boxed{{n}} {things}.",
    },
    Theme {
        kind: "marbles",
        things: &["marbles", "shells", "coins", "stamps", "cards", "beads"],
        opening: "{name} brings {n} {things} to a game.",
        start: "{name} starts with {n} {things}.",
        add: &["{They} wins {n}", "{They} finds {n} more"],
        subtract: &["{They} loses {n}", "A friend takes {n}"],
        double: &["{They} doubles them", "A lucky round doubles them"],
        triple: &["A lucky round triples them", "{They} triples them"],
        halve: &["{They} loses half of them", "A friend takes half of them"],
        question: "How many {things} does {name} have?",
        conclusion: "{name} has {n} {things}.",
        answer: "{name} has \\boxed{{n}} {things}.",
    },
];
