use std::collections::BTreeMap;

use super::*;

/// CRC-32C from a table, to check the one under test with another.
fn checksum(bytes: &[u8]) -> u32 {
    let table: Vec<u32> = (0..256u32)
        .map(|byte| (0..8).fold(byte, |c, _| if c % 2 == 1 { 0x82f6_3b78 ^ (c / 2) } else { c / 2 }))
        .collect();
    let mut crc = u32::MAX;
    for byte in bytes {
        crc = table[(crc as u8 ^ byte) as usize] ^ (crc >> 8);
    }
    u32::MAX ^ crc
}

/// Takes `size` bytes off the front.
fn take<'a>(bytes: &mut &'a [u8], size: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(size);
    *bytes = rest;
    taken
}

/// The records of a file, their checksums checked.
fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let mut checked = |size: usize| {
            let part = take(&mut bytes, size).to_vec();
            let stored = u32::from_le_bytes(take(&mut bytes, 4).try_into().unwrap());
            let crc = checksum(&part);
            assert_eq!(stored, crc.rotate_right(15).wrapping_add(0xa282_ead8), "a checksum is wrong");
            part
        };
        let length = u64::from_le_bytes(checked(8).try_into().unwrap());
        all.push(checked(length as usize));
    }
    all
}

/// The fields of a protobuf message: number, wire type, and the value's bytes (a varint as eight).
fn fields(mut bytes: &[u8]) -> Vec<(u64, u64, Vec<u8>)> {
    fn number(bytes: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = take(bytes, 1)[0];
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    }
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let key = number(&mut bytes);
        let value = match key % 8 {
            0 => number(&mut bytes).to_le_bytes().to_vec(),
            1 => take(&mut bytes, 8).to_vec(),
            5 => take(&mut bytes, 4).to_vec(),
            2 => {
                let size = number(&mut bytes) as usize;
                take(&mut bytes, size).to_vec()
            }
            other => panic!("wire type {other}"),
        };
        all.push((key / 8, key % 8, value));
    }
    all
}

type Scalars = BTreeMap<String, f32>;

/// Step, wall time and scalars of each event; the first two events are checked and left out.
fn read(dir: &Path) -> Vec<(u64, f64, Scalars)> {
    let names: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(names.len(), 1, "{names:?}");
    let mut events = Vec::new();
    for (i, record) in records(&fs::read(&names[0]).unwrap()).iter().enumerate() {
        let parts = fields(record);
        assert_eq!((parts[0].0, parts[0].1, parts[1].0, parts[1].1), (1, 1, 2, 0));
        let wall_time = f64::from_le_bytes(parts[0].2.clone().try_into().unwrap());
        let step = u64::from_le_bytes(parts[1].2.clone().try_into().unwrap());
        let (what, _, content) = &parts[2];
        match i {
            0 => assert_eq!((*what, step, content.as_slice()), (3, 0, b"brain.Event:2".as_slice())),
            1 => assert_eq!((*what, step, fields(content)), (7, 0, vec![(1, 0, vec![1, 0, 0, 0, 0, 0, 0, 0])])),
            _ => {
                assert_eq!(*what, 5);
                let scalars = fields(content).into_iter().map(|(number, _, value)| {
                    let value = fields(&value);
                    assert_eq!((number, value[0].0, value[1].0, value[1].1), (1, 1, 2, 5));
                    let scalar = f32::from_le_bytes(value[1].2.clone().try_into().unwrap());
                    (String::from_utf8(value[0].2.clone()).unwrap(), scalar)
                });
                events.push((step, wall_time, scalars.collect()));
            }
        }
    }
    events
}

fn metric(step: u32, eval_loss: Option<f64>) -> Metric {
    Metric {
        run: "student".to_owned(),
        step,
        loss: 3.0 / f64::from(step),
        learning_rate: 1e-5 * f64::from(step),
        grad_norm: 0.5,
        supervised_tokens: 100,
        tokens: 200,
        tokens_per_second: 1234.5,
        seconds: 2.0 * f64::from(step),
        eval_loss,
    }
}

#[test]
fn the_checksum_is_that_of_the_standard() {
    // RFC 3720, B.4, and the check value of the CRC catalogue.
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(checksum(&[0xff; 32]), crc32c(&[0xff; 32]));
}

#[test]
fn events_read_back_as_written_and_a_resumed_training_has_each_step_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = EventFile::open(dir.path(), 0.0, &[]).unwrap();
    let metrics = [metric(1, None), metric(2, Some(2.5)), metric(300, None)];
    for metric in &metrics {
        file.write(metric).unwrap();
    }
    drop(file);
    let expected = |metrics: &[Metric]| -> Vec<(u64, Scalars)> {
        let of = |m: &Metric| {
            let train = [
                ("train/loss", Some(m.loss)),
                ("train/grad_norm", Some(0.5)),
                ("train/learning_rate", Some(m.learning_rate)),
                ("train/tokens_per_second", Some(1234.5)),
                ("eval/loss", m.eval_loss),
            ];
            let scalars = train.into_iter().filter_map(|(tag, value)| Some((tag.to_owned(), value? as f32)));
            (u64::from(m.step), scalars.collect())
        };
        metrics.iter().map(of).collect()
    };
    let found = read(dir.path());
    assert!((found[1].1 - found[0].1 - 2.0).abs() < 1e-6, "a step later is two seconds later");
    assert_eq!(found.into_iter().map(|(step, _, scalars)| (step, scalars)).collect::<Vec<_>>(), expected(&metrics));

    // Resumed from step 2; the old file ends in the middle of a record.
    let old = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    let cut = fs::read(&old).unwrap();
    fs::remove_file(&old).unwrap();
    fs::write(dir.path().join("events.out.tfevents.0000000001.r1-distill"), &cut[..cut.len() - 5]).unwrap();
    let mut file = EventFile::open(dir.path(), 4.0, &metrics[..2]).unwrap();
    file.write(&metric(3, Some(2.0))).unwrap();
    let again = [metric(1, None), metric(2, Some(2.5)), metric(3, Some(2.0))];
    let found = read(dir.path()).into_iter().map(|(step, _, scalars)| (step, scalars));
    assert_eq!(found.collect::<Vec<_>>(), expected(&again));
}
