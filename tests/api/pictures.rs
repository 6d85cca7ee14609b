//! Pictures to upload, made here: of each type, with notes of a camera, and bombs.

use std::io::Cursor;

use image::{DynamicImage, ImageBuffer, ImageFormat, Rgb};

const RED: Rgb<u8> = Rgb([220, 20, 20]);
const BLUE: Rgb<u8> = Rgb([20, 20, 220]);

/// Red on the left, blue on the right.
pub(crate) fn halves(width: u32, height: u32) -> DynamicImage {
    ImageBuffer::from_fn(width, height, |x, _| if x < width / 2 { RED } else { BLUE }).into()
}

/// A picture of so many bytes per pixel that nothing packs it.
pub(crate) fn noise(width: u32, height: u32) -> DynamicImage {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    ImageBuffer::from_fn(width, height, |_, _| Rgb([next(), next(), next()])).into()
}

pub(crate) fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, format).unwrap();
    file.into_inner()
}

/// A JPEG with an Exif segment (APP1) that has an orientation and a place where it was taken.
pub(crate) fn with_exif(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    exif.extend(b"GPS 37.5665 N 126.9780 E");
    let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xFF, 0xE1], &length, &exif, &jpeg[2..]].concat()
}

/// A PNG of some hundred bytes that claims to be this large.
pub(crate) fn bomb(width: u32, height: u32) -> Vec<u8> {
    let mut png = encoded(&halves(8, 8), ImageFormat::Png);
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    // The sum is of the header's type and data.
    let sum = crc32(&png[12..29]).to_be_bytes();
    png[29..33].copy_from_slice(&sum);
    png
}

pub(crate) fn is_red(picture: &DynamicImage, x: u32, y: u32) -> bool {
    is_like(picture, x, y, RED)
}

pub(crate) fn is_blue(picture: &DynamicImage, x: u32, y: u32) -> bool {
    is_like(picture, x, y, BLUE)
}

fn is_like(picture: &DynamicImage, x: u32, y: u32, colour: Rgb<u8>) -> bool {
    let found = picture.to_rgb8().get_pixel(x, y).0;
    found.iter().zip(colour.0).all(|(found, wanted)| found.abs_diff(wanted) < 40)
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 { (sum >> 1) ^ 0xEDB8_8320 } else { sum >> 1 }
        })
    })
}
