//! The report as a whole: what it says, what it leaves out, and that nothing gets out of its quotes.

use curate::BalanceLine;

use super::*;

/// A run with something in every part.
fn example() -> RunReport {
    RunReport {
        name: "chains-qwen".into(),
        recipe_text: "[teacher]\nmodel = \"r1\"\n".into(),
        date: "2026-11-23".into(),
        device: "16 CPU cores".into(),
        stages: vec![stage("collect", 812.0, true), stage("train", 1406.5, false)],
        inputs: vec![InputRow {
            name: "traces".into(),
            place: "hf://datasets/open-r1/Mixture-of-Thoughts@c0ffee/all".into(),
            fingerprint: "aa17".into(),
        }],
        funnel: vec![
            FunnelRow { rule: "well formed".into(), dropped: 100, remaining: 1900 },
            FunnelRow { rule: "correct answer".into(), dropped: 300, remaining: 1600 },
        ],
        balanced: Some(Balanced {
            by: "domain".into(),
            lines: vec![
                BalanceLine { value: Some("math".into()), had: 900, quota: Some(1000), kept: 900, prompts: 470 },
                BalanceLine { value: Some("code".into()), had: 500, quota: Some(304), kept: 304, prompts: 304 },
                BalanceLine { value: None, had: 200, quota: Some(0), kept: 0, prompts: 0 },
            ],
        }),
        traces_total: 2000,
        traces_selected: 1204,
        accuracy: vec![
            accuracy("teacher", "teacher", 0.92, 0.88),
            accuracy("before", "student before distillation", 0.031, 0.01),
            accuracy("after", "student after distillation", 0.714, 0.66),
            accuracy("control", "student on bare answers", 0.09, 0.06),
        ],
        accuracy_by_kind: vec![KindRow {
            kind: "two-step sums".into(),
            problems: 80,
            accuracy: BTreeMap::from([("after".into(), 0.8), ("teacher".into(), 0.95)]),
        }],
        held_out_loss: Some(HeldOutLoss { before: 1.92, after: 0.412, tokens: 48_211 }),
        training: vec![curve("student", 0.4), curve("control", 1.1)],
        lengths: vec![
            LengthSeries { name: "all traces".into(), lengths: (0..2000).map(|i| 100 + i * 7 % 1900).collect() },
            LengthSeries { name: "selected".into(), lengths: (0..1204).map(|i| 100 + i * 5 % 900).collect() },
        ],
        length_unit: "tokens".into(),
        samples: vec![
            sample("first", "verified", Some(true)),
            sample("second", "wrong", Some(false)),
            sample("third", "cut off", None),
        ],
        export: Some(Export {
            folder: "runs/chains/export".into(),
            files: vec![ExportFile { name: "model.safetensors".into(), bytes: 988_097_824 }],
            checks: vec![
                Check { passed: true, text: "logits equal those of the trained weights".into() },
                Check { passed: false, text: "rounding changed them by 3.08".into() },
            ],
        }),
        seeds: None,
    }
}

fn stage(name: &str, seconds: f64, cached: bool) -> StageRow {
    let summary = format!("{name} did its work");
    StageRow { stage: name.into(), fingerprint: "0123456789abcdef".into(), seconds, cached, summary }
}

fn accuracy(model: &str, label: &str, accuracy: f64, low: f64) -> AccuracyRow {
    let high = 2.0f64.mul_add(accuracy, -low);
    let (model, label) = (model.into(), label.into());
    AccuracyRow {
        model,
        label,
        accuracy,
        low,
        high,
        problems: 200,
        samples_per_problem: 4,
        mean_tokens: 311.4,
        truncated: 0.02,
    }
}

fn curve(name: &str, end: f64) -> TrainingCurve {
    let point = |step: u32| {
        let share = f64::from(step) / 300.0;
        TrainingPoint {
            step,
            loss: end + 2.0 * (-6.0 * share).exp(),
            learning_rate: 2e-5 * (1.0 - share),
            grad_norm: 1.0 + end,
            eval_loss: (name == "student" && step.is_multiple_of(50)).then_some(end + 0.1),
        }
    };
    let points = (1..=300).map(point).collect();
    TrainingCurve {
        name: name.into(),
        points,
        tokens: 8_300_000,
        tokens_per_second: 5900.0,
        parameters: 494_032_768,
        trained_parameters: 494_032_768,
        loss: Some(TrainingLoss { start: Some(end + 1.9), end, steps: 10 }),
    }
}

fn sample(title: &str, verdict: &str, correct: Option<bool>) -> SampleTrace {
    SampleTrace {
        title: title.into(),
        verdict: verdict.into(),
        correct,
        question: "What is 2 + 2?".into(),
        thinking: "Two and two.\nThat is four.".into(),
        answer: r"So \boxed{4}.".into(),
        gold: Some("4".into()),
    }
}

/// Fails unless every tag that is opened is closed in order, and every attribute is quoted.
fn assert_balanced(page: &str) {
    const VOID: [&str; 3] = ["meta", "link", "!DOCTYPE"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        let tag = &rest[start + 1..];
        let mut quoted = false;
        let end = tag
            .find(|c| {
                quoted ^= c == '"';
                c == '>' && !quoted
            })
            .expect("a tag that does not end");
        let inside = &tag[..end];
        assert!(!inside.contains('<'), "a tag within a tag: {inside}");
        let name = inside.trim_matches('/').split_whitespace().next().expect("a tag without a name");
        rest = &tag[end + 1..];
        if inside.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "closed out of order before: {rest:.80}");
        } else if !inside.ends_with('/') && !VOID.contains(&name) {
            open.push(name);
        }
        // Style and script are not markup.
        if !inside.starts_with('/') && ["style", "script"].contains(&name) {
            rest = &rest[rest.find(&format!("</{name}>")).expect("an element that does not end")..];
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

/// The whole page as people read it on a screen without a browser.
#[test]
fn markdown_of_a_whole_run() {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("report", markdown(&example())));
}

#[test]
fn the_headline_states_the_result() {
    let report = example();
    let expected = "The student went from 3.1 % to 71.4 % (95 % interval 66–77) on 200 unseen problems; \
                    trained on bare answers instead, it reached 9.0 %.";
    assert_eq!(summary::headline(&report), expected);
    assert!(
        html_page(&report)
            .contains(&format!("<h1>{}</h1>", expected.replace(" %", "&#160;%").replace('–', "&#8288;–&#8288;")))
    );
    assert!(markdown(&report).contains(&format!("**{expected}**")));
    assert_eq!(
        summary::remarks(&report),
        ["The teacher reaches 92.0 %: the student closed 77 % of the distance to it."]
    );
}

#[test]
fn the_headline_is_honest() {
    let mut report = example();
    report.accuracy.retain(|row| row.model == "before" || row.model == "after");
    report.accuracy[0] = accuracy("before", "before", 0.75, 0.69);
    assert!(summary::headline(&report).starts_with("The student fell from 75.0 % to 71.4 %"));
    assert!(summary::remarks(&report)[0].contains("overlap: on 200 problems the difference is not settled"));
    report.accuracy[0].accuracy = 0.714;
    assert!(summary::headline(&report).starts_with("The student stayed at 71.4 %"));
    report.accuracy[1].accuracy = f64::NAN;
    assert!(summary::headline(&report).starts_with("Before solves 71.4 %"));
    report.accuracy.clear();
    assert_eq!(summary::headline(&report), "The student’s held-out loss fell from 1.920 to 0.412 nats per token.");
    report.held_out_loss = None;
    assert_eq!(summary::headline(&report), "1,204 of 2,000 traces were selected (60.2 %).");
}

#[test]
fn a_full_report_is_well_formed_and_asks_for_nothing() {
    let page = html_page(&example());
    assert_balanced(&page);
    for outside in ["http://", "https://", "src=", "url(h", "@import", "fetch("] {
        assert!(!page.contains(outside), "{outside}");
    }
    for value in ["NaN", "inf%", "Infinity"] {
        assert!(!page.contains(value), "{value}");
    }
    assert_eq!(page.matches("<svg role=\"img\" aria-labelledby=").count(), 4);
    assert_eq!(page.matches("<th>").count(), 0, "a heading without a scope");
    let ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(ids.len(), ids.iter().collect::<std::collections::BTreeSet<_>>().len(), "{ids:?}");
}

#[test]
fn sections_come_and_go_with_their_data() {
    type Removal = fn(&mut RunReport);
    let parts: [(&str, &str, Removal); 7] = [
        ("accuracy", "Accuracy", |report| {
            report.accuracy.clear();
            report.accuracy_by_kind.clear();
        }),
        ("training", "Training", |report| {
            report.training.clear();
            report.held_out_loss = None;
        }),
        ("traces", "Traces", |report| {
            report.funnel.clear();
            report.balanced = None;
            report.lengths.clear();
        }),
        ("samples", "Samples", |report| report.samples.clear()),
        ("export", "Exported model", |report| report.export = None),
        ("stages", "Stages", |report| report.stages.clear()),
        ("recipe", "Recipe", |report| report.recipe_text.clear()),
    ];
    let (page, text) = (html_page(&example()), markdown(&example()));
    let mut empty = example();
    for (id, title, remove) in parts {
        let (section, heading) = (format!("<section id=\"{id}\""), format!("\n## {title}\n"));
        assert!(page.contains(&section) && text.contains(&heading), "{title} is missing");
        let mut report = example();
        remove(&mut report);
        remove(&mut empty);
        let (page, text) = (html_page(&report), markdown(&report));
        assert!(!page.contains(&section) && !page.contains(&format!("#{id}\"")), "{title} is still on the page");
        assert!(!text.contains(&heading), "{title} is still in the text");
        assert_eq!(page.matches("<section").count(), 6);
        assert_balanced(&page);
    }
    assert!(!html_page(&empty).contains("<section") && !html_page(&empty).contains("<nav"));
    assert_balanced(&html_page(&RunReport { name: "bare".into(), ..RunReport::default() }));
    assert!(markdown(&RunReport { name: "bare".into(), ..RunReport::default() }).contains("**Run bare.**"));
}

#[test]
fn quotas_say_what_is_short() {
    let (page, text) = (html_page(&example()), markdown(&example()));
    for line in
        ["| math | 900 | 1,000 | 900 | 100 | 470 |", "| not named | 200 | 0 | 0 |  | 0 |", "1 quota could not be met"]
    {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(page.contains("1 quota could not be met") && page.contains("Short by"));
    let mut met = example();
    met.balanced.iter_mut().for_each(|balanced| balanced.lines.retain(|line| line.short() == 0));
    assert!(!markdown(&met).contains("could not be met"));
}

/// The example with every string in it replaced.
fn with_every_string(text: &str) -> RunReport {
    let mut report = example();
    let s = || text.to_owned();
    (report.name, report.recipe_text, report.date, report.device, report.length_unit) = (s(), s(), s(), s(), s());
    for row in &mut report.stages {
        (row.stage, row.fingerprint, row.summary) = (s(), s(), s());
    }
    report.inputs.iter_mut().for_each(|row| (row.name, row.place, row.fingerprint) = (s(), s(), s()));
    report.funnel.iter_mut().for_each(|row| row.rule = s());
    if let Some(balanced) = &mut report.balanced {
        balanced.by = s();
        balanced.lines.iter_mut().for_each(|line| line.value = Some(s()));
    }
    report.accuracy.iter_mut().for_each(|row| (row.model, row.label) = (s(), s()));
    for row in &mut report.accuracy_by_kind {
        (row.kind, row.accuracy) = (s(), BTreeMap::from([(s(), 0.5)]));
    }
    report.training.iter_mut().for_each(|curve| curve.name = s());
    report.lengths.iter_mut().for_each(|series| series.name = s());
    for sample in &mut report.samples {
        (sample.title, sample.verdict, sample.question) = (s(), s(), s());
        (sample.thinking, sample.answer, sample.gold) = (s(), s(), Some(s()));
    }
    let files = vec![ExportFile { name: s(), bytes: 1 }];
    report.export = Some(Export { folder: s(), files, checks: vec![Check { passed: true, text: s() }] });
    report
}

#[test]
fn no_string_can_break_out() {
    let hostile =
        "<script>alert(1)</script></pre></script>\"' onmouseover=\"alert(2)\" ]]> <!-- &amp; \\boxed{<b>} | `` `";
    let report = with_every_string(hostile);
    let (page, text) = (html_page(&report), markdown(&report));
    assert_balanced(&page);
    assert_eq!(page.matches("<script>").count(), 1);
    assert_eq!(page.matches("alert(1)").count(), page.matches("&lt;script&gt;alert(1)&lt;/script&gt;").count());
    assert!(!page.contains("onmouseover=\"") && !page.contains("<!--") && !page.contains("<b>}"));
    assert!(page.contains("&amp;amp;") && page.contains("<mark>\\boxed{&lt;b&gt;}</mark>"));
    for line in text.lines().filter(|line| line.contains("<script>")) {
        // Only fenced text may hold it as it is: there the line is the string itself.
        assert_eq!(line, hostile);
    }
}

#[test]
fn characters_that_hide_or_reorder_are_shown() {
    let report = with_every_string("a\0b\u{1b}[31mc\u{202e}evil\u{2066}d\u{7f}\u{85}\r\ne\rf שלום\u{200f}");
    for output in [html_page(&report), markdown(&report)] {
        let hidden =
            |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        assert!(!output.contains(hidden));
        assert!(output.contains("a␀b␛") && output.contains("[U+202E") && output.contains("שלום"));
    }
    assert!(html_page(&report).contains("a␀b␛[31mc[U+202E]evil[U+2066]d␡\u{fffd}\ne\nf"));
}

#[test]
fn long_lines_are_kept_whole() {
    let long = "wait, ".repeat(20_000);
    let mut report = example();
    report.samples[0].thinking.clone_from(&long);
    assert!(html_page(&report).contains(long.trim()) && markdown(&report).contains(long.trim()));
}

#[test]
fn values_that_are_not_finite_break_nothing() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut report = example();
        for row in &mut report.accuracy {
            (row.accuracy, row.low, row.high, row.mean_tokens, row.truncated) = (bad, bad, bad, bad, bad);
        }
        report.accuracy_by_kind[0].accuracy.insert("before".into(), bad);
        report.held_out_loss = Some(HeldOutLoss { before: bad, after: bad, tokens: 0 });
        report.stages[0].seconds = bad;
        report.training[0].points[3].loss = bad;
        for point in &mut report.training[1].points {
            (point.loss, point.learning_rate, point.grad_norm) = (bad, bad, bad);
        }
        report.training[1].tokens_per_second = bad;
        report.training[1].loss = Some(TrainingLoss { start: Some(bad), end: bad, steps: 10 });
        let (page, text) = (html_page(&report), markdown(&report));
        assert_balanced(&page);
        for value in ["NaN", "inf ", "inf%", "\"inf", ">inf"] {
            assert!(!page.contains(value) && !text.contains(value), "{value}");
        }
        assert!(page.contains("301 steps with a loss or gradient norm that is not finite left out."));
        assert!(page.contains("class=\"line c-after\""), "the finite curve is drawn all the same");
    }
}

#[test]
fn degenerate_curves_and_lengths_are_drawn() {
    let mut report = example();
    report.training[0].points.truncate(1);
    report.training[1].points.clear();
    report.lengths[0].lengths = vec![7];
    report.lengths[1].lengths.clear();
    let page = html_page(&report);
    assert_balanced(&page);
    assert!(page.contains("h0\"") && page.contains("7–8 tokens; all traces: 1"));
    report.training[0].points.clear();
    report.lengths.truncate(0);
    let page = html_page(&report);
    assert!(
        !page.contains("id=\"loss-title\"")
            && !page.contains("id=\"lengths-title\"")
            && !page.contains("class=\"pair\"")
    );
}

#[test]
fn the_loss_on_held_out_traces_is_a_curve_of_its_own() {
    let mut report = example();
    let name = "data-name=\"student, held-out traces\"";
    assert_eq!(html_page(&report).matches(name).count(), 1, "beside the training loss and nowhere else");
    assert!(markdown(&report).contains("student, held-out traces"));
    report.training[0].points.iter_mut().for_each(|point| point.eval_loss = None);
    assert!(!html_page(&report).contains(name));
}

#[test]
fn a_tick_stands_beside_a_check_that_passed_and_no_other() {
    let (page, text) = (html_page(&example()), markdown(&example()));
    assert!(text.contains("- ✓ logits equal those of the trained weights\n"), "{text}");
    assert!(text.contains("- ⚠ Warning: rounding changed them by 3.08\n"), "{text}");
    assert!(page.contains("<li class=\"passed\"><span class=\"word\">passed: </span>logits equal"), "{page}");
    assert!(page.contains("<li class=\"failed\"><span class=\"word\">warning: </span>rounding changed"), "{page}");
    let style = include_str!("style.css");
    assert!(!style.contains(".checks li::before { content"), "a sign for all checks alike");
}

#[test]
fn one_loss_is_told_of_a_training_wherever_it_is_told() {
    let mut report = example();
    report.training[1].loss = Some(TrainingLoss { start: None, end: 1.1, steps: 3 });
    let (page, text) = (html_page(&report), markdown(&report));
    assert!(text.contains("| 2.300 → 0.400 |") && text.contains("| 1.100 |"), "{text}");
    let note = "Loss of student: means over the supervised tokens of the first and of the last 10 steps. Loss of control: mean \
                over the supervised tokens of all 3 steps.";
    assert!(text.contains(note), "{text}");
    for words in ["0.400 over the last 10 steps", "1.100 over its 3 steps", "ends at 0.500"] {
        assert!(page.contains(words), "{words}");
    }
    // The last of the noisy norms is no result.
    let norm = page.split("<b>Gradient norm</b>").nth(1).unwrap().split("</figcaption>").next().unwrap();
    assert!(!norm.contains("ends at"), "{norm}");

    report.training[0].trained_parameters = 4_399_104;
    assert!(markdown(&report).contains("- **4,399,104** parameters trained of 494,032,768\n"));
    assert!(markdown(&example()).contains("- **494,032,768** parameters trained\n"));
}

#[test]
fn an_interval_says_what_it_covers() {
    assert!(markdown(&example()).contains(generate::evaluate::INTERVALS));
}

#[test]
fn a_long_training_does_not_make_a_long_page() {
    let mut report = example();
    let point = |step: u32| TrainingPoint {
        step,
        loss: 1.0 + f64::from(step % 7),
        learning_rate: 1e-5,
        grad_norm: 1.0,
        eval_loss: None,
    };
    report.training[0].points = (1..=200_000).map(point).collect();
    assert!(html_page(&report).len() < 200_000);
}

#[test]
fn equal_reports_give_equal_pages() {
    assert_eq!(html_page(&example()), html_page(&example()));
    assert_eq!(markdown(&example()), markdown(&example()));
}
