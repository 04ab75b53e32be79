use proptest::prelude::*;

use super::*;

fn render(source: &str, messages: &[Message]) -> String {
    Template::new(source).unwrap().render(messages, false, &[("bos_token", "<s>")]).unwrap()
}

#[test]
fn tojson_is_pythons_json_dumps() {
    let messages = [Message::user("<b> & 'é' \"\\\n\u{1}")];
    assert_eq!(
        render("{{ messages | tojson }}", &messages),
        r#"[{"role": "user", "content": "<b> & 'é' \"\\\n\u0001"}]"#
    );
    assert_eq!(
        render("{{ {'b': [1, 2.0, none, true], 'a': {}} | tojson(indent=2) }}", &[]),
        "{\n  \"b\": [\n    1,\n    2.0,\n    null,\n    true\n  ],\n  \"a\": {}\n}"
    );
    assert_eq!(render("{{ {'b': 'é😀', 'a': 1} | tojson(ensure_ascii=true, sort_keys=true) }}", &[]), {
        r#"{"a": 1, "b": "\u00e9\ud83d\ude00"}"#
    });
    assert_eq!(render("{{ [1, {'a': 2}] | tojson(separators=(',', ':')) }}", &[]), r#"[1,{"a":2}]"#);
}

#[test]
fn values_print_as_python_prints_them() {
    let source =
        "{{ none }} {{ true }} {{ 1e20 }} {{ 1e-7 }} {{ 1.5 }} {{ 3 }} {{ ['a', \"it's\", none] }} {{ {'k': 1.0} }}";
    assert_eq!(render(source, &[]), "None True 1e+20 1e-07 1.5 3 ['a', \"it's\", None] {'k': 1.0}");
    assert_eq!(render("[{{ nothing }}]", &[]), "[]");
}

#[test]
fn a_tokenizer_without_a_token_leaves_it_undefined() {
    assert_eq!(
        render("{{ bos_token is defined }} {{ eos_token is defined }} {{ tools is none }}", &[]),
        "True False True"
    );
}

#[test]
fn generation_marks_render_what_is_inside() {
    let source = "a {% generation %}b{% endgeneration %}\n{%- generation -%} c {%- endgeneration -%} d";
    assert_eq!(render(source, &[]), "a bcd");
}

#[test]
fn methods_of_python_strings_are_there() {
    let source = "{{ 'a:b:c'.partition(':') }}{{ 'a:b:c'.rpartition(':') }}{{ 'abc'.partition(':') }}\
                  {{ 'abc'.removeprefix('a') }}{{ 'abc'.removesuffix('c') }}{{ 'x' is sequence }}";
    let expected = "['a', ':', 'b:c']['a:b', ':', 'c']['abc', '', '']bcabTrue";
    assert_eq!(render(source, &[]), expected);
}

#[test]
fn indent_is_jinja2s() {
    assert_eq!(
        render("{{ messages[0].content | indent(1) }}", &[Message::user("a\r\nb\rc\u{2028}d")]),
        "a\n b\n c\n d"
    );
    let text = "{% set t = 'a\n\nb\n' %}";
    assert_eq!(render(&format!("{text}[{{{{ t | indent(2) }}}}]"), &[]), "[a\n\n  b\n]");
    assert_eq!(
        render(&format!("{text}[{{{{ t | indent('> ', first=true, blank=true) }}}}]"), &[]),
        "[> a\n> \n> b\n> ]"
    );
}

#[test]
fn today_is_always_the_same_day() {
    assert_eq!(render("{{ strftime_now('%d %b %Y, %A %H:%M 100%%') }}", &[]), "26 Jul 2024, Friday 00:00 100%");
    let error = Template::new("{{ strftime_now('%Q') }}").unwrap().render(&[], false, &[]).unwrap_err().to_string();
    assert!(error.contains("%Q"), "{error}");
}

#[test]
fn a_template_that_does_not_parse_says_where() {
    let error = Template::new("{% if %}").unwrap_err().to_string();
    assert!(error.contains("chat template") && error.contains("chat:1"), "{error}");
}

proptest! {
    #[test]
    fn tojson_is_read_back_by_any_json_reader(text in ".{0,80}", ascii in any::<bool>()) {
        let source = format!("{{{{ messages[0].content | tojson(ensure_ascii={ascii}) }}}}");
        let json = render(&source, &[Message::user(text.as_str())]);
        prop_assert!(!ascii || json.is_ascii());
        prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn no_source_panics_and_text_without_tags_is_untouched(source in "[a-z{}% \n-]{0,60}", plain in "[a-z<>|.:]{0,40}") {
        let _ = Template::new(source.as_str()).map(|t| t.render(&[Message::user("x")], true, &[]));
        prop_assert_eq!(render(&plain, &[]), plain);
    }
}
