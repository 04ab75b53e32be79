use model::segments::Packed;

use super::*;
use crate::golden::{self, largest_difference};

fn prompt(length: usize, salt: usize) -> Vec<u32> {
    (0..length).map(|i| ((i * i + 13 * i + 29 * salt) % 101) as u32).collect()
}

fn request(prompt: Vec<u32>, temperature: f64, max_tokens: u32, seed: u64) -> Request {
    Request { prompt, sampling: Sampling { temperature, top_p: 1.0, max_tokens }, seed }
}

fn start(model: Model, stops: Vec<u32>, context: usize, batch: usize) -> Engine {
    Engine::start(model, stops, Limits { context, batch, cache_bytes: 1 << 30 }).unwrap()
}

fn complete(engine: &Engine, requests: Vec<Request>) -> Vec<Completion> {
    engine.complete(requests, &|_| true).unwrap()
}

fn largest_at(logits: &[f32]) -> u32 {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap() as u32
}

/// A scheduler that is stepped by hand.
fn scheduler(slots: usize, context: usize) -> (Scheduler, Sender<(Request, UnboundedSender<Event>)>) {
    let (queue, requests) = channel();
    (Scheduler::new(golden::model("qwen2"), Vec::new(), context, slots, requests), queue)
}

fn drain(events: &mut UnboundedReceiver<Event>) -> Vec<Event> {
    std::iter::from_fn(|| events.try_recv().ok()).collect()
}

#[test]
fn greedy_tokens_are_the_largest_of_the_full_logits() {
    for name in golden::NAMES {
        let model = golden::model(name);
        let engine = start(model.clone(), Vec::new(), 512, 4);
        let prompts: Vec<_> = [1, 2, 7, 63, 64, 65, 130].iter().map(|length| prompt(*length, 3)).collect();
        let requests = prompts.iter().map(|p| request(p.clone(), 0.0, 40, 0)).collect();
        for (prompt, completion) in prompts.iter().zip(complete(&engine, requests)) {
            assert_eq!((completion.token_ids.len(), completion.finish_reason), (40, FinishReason::Length));
            let all = [prompt.as_slice(), &completion.token_ids].concat();
            // Causal: row i of the whole is what a step-by-step decoder without a cache would see after token i.
            let logits = model.logits_of(&all);
            let expected: Vec<u32> = logits[prompt.len() - 1..all.len() - 1].iter().map(|l| largest_at(l)).collect();
            assert_eq!(completion.token_ids, expected, "{name}, a prompt of {}", prompt.len());
        }
    }
}

/// Logits `[rows, V]` of sequences extended through a cache by `chunks`, each a list of (slot, tokens) at once.
fn through_cache(model: &Model, slots: usize, chunks: &[Vec<(usize, &[u32])>]) -> Vec<Vec<f32>> {
    let mut cache = KvCache::new(&model.config, slots, 256, &model.device());
    let mut past = vec![0; slots];
    let mut all = vec![Vec::new(); slots];
    for chunk in chunks {
        let (mut ids, mut groups) = (Vec::new(), Vec::new());
        for (slot, tokens) in chunk {
            let start = ids.len();
            ids.extend_from_slice(tokens);
            groups.push(Group { rows: start..ids.len(), slot: *slot, past: past[*slot] });
            past[*slot] += tokens.len();
        }
        let layout = Extension::new(groups.clone(), 256, model.rope());
        let rows: Vec<usize> = (0..ids.len()).collect();
        let logits = numbers(model.extend(&ids, &mut cache, &layout, &rows));
        let vocab = model.config.vocab_size;
        for group in groups {
            all[group.slot].extend(&logits[group.rows.start * vocab..group.rows.end * vocab]);
        }
    }
    all
}

#[test]
fn logits_through_the_cache_equal_those_without() {
    for name in golden::NAMES {
        let model = golden::model(name);
        let (a, b) = (prompt(150, 1), prompt(90, 2));
        // In one piece, token by token, and in pieces of every kind, with another sequence between.
        let mut chunks = vec![vec![(2, &a[..70]), (0, &b[..1])], vec![(0, &b[1..66]), (2, &a[70..72])]];
        chunks.extend((72..149).map(|i| vec![(2, &a[i..=i])]));
        chunks.push(vec![(0, &b[66..]), (2, &a[149..])]);
        let cached = through_cache(&model, 3, &chunks);
        for (slot, ids) in [(2, &a), (0, &b)] {
            let difference = largest_difference(&cached[slot], &model.logits_of(ids).concat());
            println!("{name}: logits through the cache differ by {difference:.1e}");
            assert!(difference < 3e-5, "{name}: {difference:.1e}");
        }
    }
}

#[test]
fn packed_logits_are_those_of_each_sequence_alone() {
    for name in golden::NAMES {
        let model = golden::model(name);
        let sequences = [prompt(5, 1), prompt(131, 2), prompt(1, 3), prompt(64, 4)];
        let layout = Packed::new(&sequences.each_ref().map(Vec::len), model.rope());
        let packed = numbers(model.logits(&sequences.concat(), &layout));
        let alone: Vec<f32> = sequences.iter().flat_map(|ids| model.logits_of(ids).concat()).collect();
        let difference = largest_difference(&packed, &alone);
        println!("{name}: packed logits differ by {difference:.1e}");
        assert!(difference < 3e-5, "{name}: {difference:.1e}");
    }
}

/// To the bit: a draw at temperature 1 turns any difference into other text sooner or later.
#[test]
fn logits_have_the_same_bits_whoever_else_is_in_the_batch() {
    for name in golden::NAMES {
        let model = golden::model(name);
        let mine = prompt(40, 1);
        let decode = |others: &[Vec<u32>]| {
            let mut prefill: Vec<(usize, &[u32])> = others.iter().map(|ids| &ids[..20]).enumerate().collect();
            prefill.insert(others.len() / 2, (others.len(), &mine[..20]));
            let mut chunks = vec![prefill];
            chunks.extend((20..40).map(|i| {
                let mut step: Vec<(usize, &[u32])> = others.iter().map(|ids| &ids[i..=i]).enumerate().collect();
                step.insert(others.len() / 3, (others.len(), &mine[i..=i]));
                step
            }));
            through_cache(&model, others.len() + 1, &chunks).pop().unwrap()
        };
        let others: Vec<_> = (0..30).map(|salt| prompt(40, salt + 5)).collect();
        let expected = decode(&others[..1]);
        for count in [2, 3, 7, 15, 30] {
            let same = decode(&others[..count]).iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "{name}: {count} others change the bits");
        }
    }
}

#[test]
fn a_request_gets_the_same_tokens_alone_and_among_thirty_others() {
    for name in golden::NAMES {
        let requests: Vec<Request> = (0..31)
            .map(|i| {
                let mut request = request(prompt(1 + i * 7 % 90, i), 1.0, 10 + i as u32, i as u64);
                request.sampling.top_p = if i % 3 == 0 { 0.9 } else { 1.0 };
                request
            })
            .collect();
        let together = complete(&start(golden::model(name), vec![17], 512, 64), requests.clone());
        let engine = start(golden::model(name), vec![17], 512, 64);
        for (i, request) in requests.iter().enumerate() {
            assert_eq!(complete(&engine, vec![request.clone()]), together[i..=i], "{name}: request {i} alone");
        }
        let few = complete(&start(golden::model(name), vec![17], 512, 3), requests.clone());
        assert_eq!(few, together, "{name}: three at a time");
        let other_seed = Request { seed: 99, ..requests[30].clone() };
        assert_ne!(complete(&engine, vec![other_seed]), together[30..], "{name}: draws follow the seed");
    }
}

#[test]
fn more_requests_than_slots_wait_their_turn() {
    let (mut scheduler, queue) = scheduler(3, 64);
    let mut receivers: Vec<_> = (0..10)
        .map(|i| {
            let (sender, receiver) = unbounded_channel();
            queue.send((request(prompt(5, i), 1.0, 2 + i as u32 % 4, 1), sender)).unwrap();
            receiver
        })
        .collect();
    let mut steps = 0;
    drop(queue);
    while scheduler.receive() {
        scheduler.admit();
        assert!(scheduler.running.len() <= 3);
        assert_eq!(scheduler.running.len() + scheduler.free.len(), 3, "every slot is free or taken");
        let mut slots: Vec<usize> = scheduler.running.iter().map(|s| s.slot).chain(scheduler.free.clone()).collect();
        slots.sort_unstable();
        assert_eq!(slots, [0, 1, 2]);
        scheduler.step();
        steps += 1;
    }
    assert!(steps >= 33 / 3, "33 tokens, at most three a step, in {steps} steps");
    for (i, receiver) in receivers.iter_mut().enumerate() {
        let events = drain(receiver);
        assert_eq!(events.len(), 3 + i % 4, "{events:?}");
        assert_eq!(events.iter().position(|e| matches!(e, Event::Finished(_))), Some(2 + i % 4), "one end, at the end");
    }
}

#[test]
fn a_step_prefills_a_bounded_number_of_prompt_tokens() {
    let (mut scheduler, queue) = scheduler(16, 512);
    let receivers: Vec<_> = (0..12)
        .map(|i| {
            let (sender, receiver) = unbounded_channel();
            queue.send((request(prompt(400, i), 1.0, 4, 1), sender)).unwrap();
            receiver
        })
        .collect();
    scheduler.receive();
    scheduler.admit();
    assert_eq!(scheduler.running.len(), PREFILL_ROWS / 400);
    scheduler.step();
    scheduler.admit();
    assert_eq!(scheduler.running.len(), 2 * (PREFILL_ROWS / 400), "the first ones go on while others join");
    drop(receivers);
}

#[test]
fn a_completion_ends_at_its_limit_or_the_context() {
    let engine = start(golden::model("llama"), Vec::new(), 30, 4);
    assert_eq!(engine.context(), 30);
    let requests = [0, 1, 5, 100].map(|max_tokens| request(prompt(20, 1), 0.0, max_tokens, 1));
    let completions = complete(&engine, requests.to_vec());
    assert!(completions.iter().all(|c| c.finish_reason == FinishReason::Length));
    assert_eq!(completions.iter().map(|c| c.token_ids.len()).collect::<Vec<_>>(), [0, 1, 5, 10]);
    assert_eq!(completions[2].token_ids, completions[3].token_ids[..5], "the limit only cuts");
    assert_eq!(complete(&engine, vec![request(prompt(29, 1), 0.0, 100, 1)])[0].token_ids.len(), 1);
    let more = start(golden::model("llama"), Vec::new(), 100_000, 4);
    assert_eq!(more.context(), 512, "cut to what the model holds");
}

#[test]
fn a_stop_token_ends_the_completion_and_is_not_sent() {
    let engine = |stops| start(golden::model("qwen2"), stops, 512, 4);
    let ask = || vec![request(prompt(12, 8), 1.0, 50, 4)];
    let free = complete(&engine(Vec::new()), ask()).remove(0).token_ids;
    let (third, ninth) = (free[3], free[9]);
    let end = free.iter().position(|id| *id == third || *id == ninth).unwrap();
    let stopped = complete(&engine(vec![ninth, third]), ask()).remove(0);
    assert_eq!(stopped, Completion { token_ids: free[..end].to_vec(), finish_reason: FinishReason::Stop });
    let mut events = engine(vec![ninth, third]).submit(ask().remove(0)).unwrap();
    let all: Vec<Event> = std::iter::from_fn(|| events.blocking_recv()).collect();
    let expected = free[..end].iter().map(|id| Event::Token(*id)).chain([Event::Finished(FinishReason::Stop)]);
    assert_eq!(all, expected.collect::<Vec<_>>());
}

#[test]
fn dropping_the_receiver_frees_the_slot() {
    let (mut scheduler, queue) = scheduler(2, 512);
    let [mut kept, cancelled, mut waiting] = [1, 2, 3].map(|salt| {
        let (sender, receiver) = unbounded_channel();
        queue.send((request(prompt(9, salt), 1.0, 400, 1), sender)).unwrap();
        receiver
    });
    let step = |scheduler: &mut Scheduler| {
        assert!(scheduler.receive());
        scheduler.admit();
        scheduler.step();
    };
    step(&mut scheduler);
    assert_eq!((scheduler.running.len(), scheduler.waiting.len()), (2, 1));
    drop(cancelled);
    step(&mut scheduler);
    assert_eq!((scheduler.running.len(), scheduler.free.len()), (1, 1), "the cancelled one has left");
    step(&mut scheduler);
    assert_eq!((scheduler.running.len(), scheduler.waiting.len()), (2, 0), "the next one has its slot");
    assert_eq!((drain(&mut kept).len(), drain(&mut waiting).len()), (3, 1));
}

#[test]
fn what_cannot_be_completed_is_refused() {
    let engine = start(golden::model("qwen2"), Vec::new(), 64, 4);
    for (prompt, words) in [
        (Vec::new(), "0 tokens"),
        (prompt(64, 1), "64 tokens, the context is 64"),
        (vec![1, 101, 2], "token id 101 is outside the vocabulary of 101"),
    ] {
        let message = engine.submit(request(prompt, 0.0, 1, 1)).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    }
    assert!(engine.complete(vec![request(prompt(64, 1), 0.0, 1, 1)], &|_| true).is_err());
    let two = vec![request(prompt(3, 1), 0.0, 1, 1); 2];
    assert!(matches!(engine.complete(two, &|_| false), Err(Error::Stopped { .. })));
}

/// The cache is never larger than allowed, the padding row included, and what does not fit is refused before it begins.
#[test]
fn the_cache_keeps_its_bound_or_the_engine_does_not_start() {
    let model = golden::model("llama");
    let token = KvCache::bytes_per_token(&model.config);
    let limits = |tokens: u64| Limits { context: 100, batch: 8, cache_bytes: tokens * token };
    for (tokens, slots) in [(101, 1), (200, 1), (201, 2), (750, 7), (5000, 8)] {
        assert_eq!(limits(tokens).fit(&model.config).unwrap(), (100, slots), "{tokens} tokens");
        let cache = KvCache::new(&model.config, slots, 100, &model.device());
        assert!(cache.bytes() <= limits(tokens).cache_bytes, "{tokens} tokens: {} bytes", cache.bytes());
    }
    let refused = Engine::start(model.clone(), Vec::new(), limits(100)).unwrap_err().to_string();
    for words in ["one sequence of 100 tokens takes", "MiB", "--cache-mib", "at most 99 tokens"] {
        assert!(refused.contains(words), "no {words:?} in {refused}");
    }
    let refused = Engine::start(model.clone(), Vec::new(), limits(0)).unwrap_err().to_string();
    assert!(refused.contains("--cache-mib") && !refused.contains("at most"), "{refused}");
    // A model that holds less than asked for needs no more than it holds.
    let all = Limits { context: usize::MAX, batch: 8, cache_bytes: 513 * token };
    assert_eq!(all.fit(&model.config).unwrap(), (512, 1));

    // One slot is enough, and what comes out is the same.
    let requests: Vec<Request> = (0..3).map(|salt| request(prompt(20, salt), 1.0, 12, 5)).collect();
    let one = Engine::start(model.clone(), Vec::new(), limits(101)).unwrap();
    assert_eq!(one.slots(), 1);
    assert_eq!(complete(&one, requests.clone()), complete(&start(model, Vec::new(), 100, 8), requests));
}
