//! Whether the time that custody's arithmetic takes tells anything of the secrets, as dudect asks: one fixed input and random
//! ones take turns in no order, and Welch's t-test says whether their times are of two distributions.

use std::hint::black_box;
use std::time::Instant;

use serde_json::json;

use crate::bed::Bed;
use crate::report::Report;
use crate::slip39::field::interpolated;
use crate::slip39::text::{Indices, Spelled, WORDS_MAX, written};
use crate::slip39::words::letters_of;
use crate::slip39::{SECRET_MAX, checksum};

/// Above this dudect says that there is a leak without doubt.
const DOUBTLESS: f64 = 10.0;
/// Times of each class in one run.
const TIMES: usize = 10_000;
/// A leak shows in each run, a machine that was busy does not.
const RUNS: usize = 3;

/// All rows.
pub(crate) fn measure(_bed: &Bed, report: &mut Report) {
    let shares = || [(); 8].map(|()| random::<SECRET_MAX>());
    row(report, "interpolation over GF(256)", &[[0; SECRET_MAX]; 8], shares, |values| {
        black_box(interpolated((0..8).zip(values), 255));
    });
    row(report, "RS1024 of 30 words", &[0; 30], indices, |words: &[u16; 30]| {
        black_box(checksum::checksum(true, words));
    });
    let whole = |words: [u16; 30]| {
        let mut indices = Indices { words: [0; WORDS_MAX], count: WORDS_MAX };
        indices.words[..30].copy_from_slice(&words);
        indices
    };
    // Words of eight letters, so that all texts are of one length: that is no secret.
    let long: Vec<u16> = (0..1024).filter(|at| letters_of(*at) >> 56 != 0).collect();
    let some = || whole(indices().map(|index| long[usize::from(index) % long.len()]));
    row(report, "33 words from their numbers", &whole([long[0]; 30]), some, |indices| {
        black_box(written(indices));
    });
    let text = |words: &Indices| written(words).reveal_secret_bytes().to_vec();
    row(
        report,
        "33 words to their numbers",
        &text(&whole([long[0]; 30])),
        || text(&some()),
        |text| {
            let spelled = Spelled::read(text);
            black_box(spelled.looked_up(spelled.count()).is_ok());
        },
    );
    control(report);
}

/// A product as one would write it without a thought, so that it is seen that a leak is seen.
fn control(report: &mut Report) {
    let t = least_t(&[0; SECRET_MAX], random::<SECRET_MAX>, |bytes: &[u8; SECRET_MAX]| {
        let product = |mut a: u8, mut b: u8| {
            let mut sum = 0_u8;
            while black_box(b) != 0 {
                if b & 1 == 1 {
                    sum ^= a;
                }
                a = a << 1 ^ if a & 0x80 == 0 { 0 } else { 0x1B };
                b >>= 1;
            }
            sum
        };
        for _ in 0..8 {
            black_box(bytes.iter().fold(1, |sum, byte| product(sum | 1, *byte)));
        }
    });
    let goal = "|t| > 10: a leak is seen";
    let measured = format!("|t| {t:.1}");
    report.goal("a product that branches, for comparison", goal, measured, t > DOUBTLESS, json!({"t": t}));
}

fn row<T>(report: &mut Report, what: &str, fixed: &T, random: impl Fn() -> T, work: impl Fn(&T)) {
    let t = least_t(fixed, random, work);
    let what = format!("time of {what} tells nothing");
    let measured = format!("|t| {t:.1} (dudect: above 4.5 look again, above 10 it leaks)");
    report.goal(&what, "|t| < 10", measured, t < DOUBTLESS, json!({"t": t}));
}

/// The least |t| of some runs.
fn least_t<T>(fixed: &T, random: impl Fn() -> T, work: impl Fn(&T)) -> f64 {
    // Both classes are read from memory of the same kind, written long before.
    let others: Vec<T> = (0..256).map(|_| random()).collect();
    (0..RUNS).map(|_| one_t(fixed, &others, &work)).fold(f64::INFINITY, f64::min)
}

fn one_t<T>(fixed: &T, others: &[T], work: &impl Fn(&T)) -> f64 {
    let mut times = [Vec::new(), Vec::new()];
    let mut next = 0;
    while times.iter().any(|times| times.len() < TIMES) {
        for byte in random::<64>() {
            let class = usize::from(byte & 1);
            next = (next + 1) % others.len();
            let input = if class == 0 { fixed } else { &others[next] };
            let began = Instant::now();
            work(black_box(input));
            times[class].push(began.elapsed().as_nanos() as f64);
        }
    }
    // What took much longer was interrupted, and says nothing of the input.
    let mut all = times.concat();
    all.sort_by(f64::total_cmp);
    let cut = all[all.len() * 9 / 10];
    let [one, two] = times.map(|times| spread(times.into_iter().filter(|time| *time <= cut)));
    ((one.0 - two.0) / (one.1 + two.1).sqrt()).abs()
}

/// The mean, and the variance of the mean.
fn spread(times: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let number = times.clone().count() as f64;
    let mean = times.clone().sum::<f64>() / number;
    let squares = times.map(|time| (time - mean).powi(2)).sum::<f64>();
    (mean, squares / (number - 1.0) / number)
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    secmem::fill_random(&mut bytes).expect("the system has random numbers");
    bytes
}

fn indices() -> [u16; 30] {
    let mut words = [0; 30];
    for (word, pair) in words.iter_mut().zip(random::<60>().as_chunks::<2>().0) {
        *word = u16::from_be_bytes(*pair) & 0x3FF;
    }
    words
}
