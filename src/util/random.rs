//! Arithmetic with random bits: good enough to spread load, not for secrets.

/// Returns bits that are spread evenly, for numbers that need not be: one step of SplitMix64.
pub fn mix(number: u64) -> u64 {
    let mixed = number.wrapping_add(STEP);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The distance between the numbers of a sequence that [`mix`] turns into random ones.
pub const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Returns a number below `total` by 64 random bits, each as often as the others; 0 for 0.
pub fn below(random: u64, total: u64) -> u64 {
    // The high half of the product.
    ((u128::from(random) * u128::from(total)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mix_matches_the_published_sequence() {
        // The first numbers of SplitMix64 with seed 1234567.
        let numbers = [0_u64, 1, 2].map(|n| mix(1_234_567_u64.wrapping_add(n.wrapping_mul(STEP))));
        assert_eq!(
            numbers,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn what_is_below_a_total_reaches_from_0_to_its_predecessor() {
        assert_eq!((below(0, 10), below(u64::MAX, 10)), (0, 9));
        assert_eq!((below(u64::MAX / 2, 10), below(u64::MAX, 0)), (4, 0));
    }
}
