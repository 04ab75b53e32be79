//! Values that no stage could carry out, found before anything is spent.

use folder::base::Base;
use records::Mistake;
use records::record::Sampling;
use sources::formats::Format;

use super::{ProblemSource, Recipe, TraceSource};

impl Recipe {
    /// What is wrong with the values, field by field.
    pub(super) fn check(&self) -> Vec<Mistake> {
        let mut found = Vec::new();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.name.is_empty() || !self.name.chars().all(plain) || self.name.starts_with('.') {
            let problem = format!("{:?} cannot become a folder", self.name);
            found.push(Mistake::new("name", problem, "use letters, digits, '-' and '_'"));
        }
        found.extend(problems("prompts", &self.prompts));
        self.check_collect(&mut found);
        found.extend(self.curate.check());
        if let Some(judge) = &self.curate.judge {
            sampling("curate.judge.sampling", judge.sampling, &mut found);
        }
        self.check_evaluate(&mut found);
        self.check_training(&mut found);
        if self.export.shard_gigabytes.is_nan() || self.export.shard_gigabytes <= 0.0 {
            found.push(Mistake::new(
                "export.shard_gigabytes",
                format!("it is {}", self.export.shard_gigabytes),
                "set it above 0",
            ));
        }
        found
    }

    fn check_collect(&self, found: &mut Vec<Mistake>) {
        match &self.collect {
            TraceSource::Worked(_) if !matches!(self.prompts, ProblemSource::Procedural(_)) => {
                let problem =
                    "\"worked\" is the solutions of the problem generator, and [prompts] are none of its problems";
                found.push(Mistake::new("collect.kind", problem, "set prompts.kind to \"procedural\""));
            }
            TraceSource::Worked(_) => {}
            TraceSource::Teacher(teacher) => {
                if teacher.model.trim().is_empty() {
                    found.push(Mistake::new("collect.model", "it is empty", "name the teacher as its endpoint does"));
                }
                sampling("collect.sampling", teacher.sampling, found);
                positive("collect.samples", teacher.samples as usize, found);
            }
            TraceSource::Import(file) => {
                if let Format::Columns(mapping) = &file.format {
                    found.extend(mapping.check().err().map(|mistake| mistake.within("collect.format")));
                }
            }
        }
    }

    fn check_evaluate(&self, found: &mut Vec<Mistake>) {
        let Some(accuracy) = &self.evaluate.accuracy else { return };
        found.extend(problems("evaluate.accuracy.problems", &accuracy.problems));
        sampling("evaluate.accuracy.protocol.sampling", accuracy.protocol.sampling, found);
        positive("evaluate.accuracy.protocol.samples", accuracy.protocol.samples as usize, found);
        if accuracy.teacher && !matches!(self.collect, TraceSource::Teacher(_)) {
            let problem = "it is true, but [collect] names no teacher";
            found.push(Mistake::new("evaluate.accuracy.teacher", problem, "set it to false"));
        }
    }

    fn check_training(&self, found: &mut Vec<Mistake>) {
        let of_model = |error| match error {
            model::Error::Invalid { what, problem, remedy } => Mistake::new(what, problem, remedy),
            other => Mistake::new("train", other.to_string(), ""),
        };
        let base = &self.student.base;
        let is_new = matches!(base, Base::Random { .. });
        if is_new && let Some(field) = self.curate.naming("student_tokens") {
            let problem = "student_tokens are not known: student.base has random weights, and its tokenizer is made from \
                           the traces that are selected";
            found.push(Mistake::new(field, problem, "ask for thinking_chars or tokens, or name a base with a folder"));
        }
        if is_new && self.train.lora.is_some() {
            let problem = "student.base has random weights, and adapters need a trained base";
            found.push(Mistake::new(
                "train.lora",
                problem,
                "name a folder in [student.base], or leave [train.lora] out",
            ));
        }
        found.extend(base.check().err().map(of_model));
        let length = self.pack.sequence_length;
        positive("pack.sequence_length", length, found);
        let context = base.new_config().map(|config| base.check_context(&config, "pack.sequence_length", length));
        found.extend(context.and_then(Result::err).map(of_model));
        found.extend(self.train.check(self.pack.held_out));
    }
}

fn problems(table: &str, source: &ProblemSource) -> Vec<Mistake> {
    match source {
        ProblemSource::Procedural(spec) => spec.check().into_iter().map(|mistake| mistake.within(table)).collect(),
        ProblemSource::File(_) => Vec::new(),
    }
}

fn positive(field: &str, value: usize, found: &mut Vec<Mistake>) {
    if value == 0 {
        found.push(Mistake::new(field, "it is 0", "set it to 1 or more"));
    }
}

fn sampling(table: &str, sampling: Sampling, found: &mut Vec<Mistake>) {
    let Sampling { temperature, top_p, max_tokens } = sampling;
    if !(0.0..=10.0).contains(&temperature) {
        let problem = format!("it is {temperature}");
        found.push(Mistake::new(format!("{table}.temperature"), problem, "set it from 0 to 10"));
    }
    if !(top_p > 0.0 && top_p <= 1.0) {
        let problem = format!("it is {top_p}");
        found.push(Mistake::new(format!("{table}.top_p"), problem, "set it above 0 and at most to 1"));
    }
    positive(&format!("{table}.max_tokens"), max_tokens as usize, found);
}
