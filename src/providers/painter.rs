//! Pictures: what people upload is unpacked, turned upright, cut to a square or made to fit, and packed anew, on the blocking
//! pool of the shared runtime, never on a worker.
//!
//! Invariants: nothing of a file but its pixels survives, so no place, no camera, no script; no more memory is asked for
//! than its number of pixels allows, which is looked at before anything is unpacked. At most `concurrency` pictures are
//! worked on and at most `uploads_max` are under way, few of them for one user; others hear [`ImageError::Busy`] before
//! anything was done.

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder as _, ImageFormat as Encoding, ImageReader, Limits};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::ImagesConfig;
use crate::domain::ids::UserId;
use crate::domain::images::{ImageError, ImageFormat, ImageSize};

/// Uploads of one user that are under way: whoever sends slowly keeps places from nobody else.
const UPLOADS_A_USER_MAX: usize = 2;
/// The longest an upload waits for its turn.
const WAIT_MAX: Duration = Duration::from_secs(10);
const JPEG_QUALITY: u8 = 85;
/// The longest side; no camera makes more, and a strip of one pixel by millions is no picture.
const SIDE_PIXELS_MAX: u32 = 16_384;
/// The longest side of a picture that is kept as a whole.
const WHOLE_PIXELS_MAX: u32 = 2_048;
/// The largest file of such a picture that keeps what shines through: beyond, it is packed like a photograph.
const CLEAR_BYTES_MAX: usize = 4 * 1_024 * 1_024;
/// What one pixel takes at most while a picture is unpacked: eight of the result, and as many of the decoder's own.
const BYTES_PER_PIXEL_MAX: u64 = 16;

/// A picture as it is kept.
#[derive(Debug, Clone)]
pub struct Painted {
    pub format: ImageFormat,
    pub files: Vec<(ImageSize, Bytes)>,
}

/// A picture as it is kept that is nobody's face: as a whole, in one size.
#[derive(Debug, Clone)]
pub struct Whole {
    pub format: ImageFormat,
    pub file: Bytes,
    pub width: u32,
    pub height: u32,
}

/// Makes pictures of uploads. Cheap to clone.
#[derive(Clone)]
pub struct Painter {
    io: Handle,
    pixels_max: u32,
    /// Places for uploads that are under way.
    places: Arc<Semaphore>,
    /// How many of them each user has.
    held: Arc<Mutex<HashMap<UserId, usize>>>,
    /// Places to work.
    working: Arc<Semaphore>,
}

/// A place for one upload, held from before its body is read. It is given back when dropped and nothing of it is worked on.
pub struct Place {
    painter: Painter,
    user: UserId,
    _place: OwnedSemaphorePermit,
}

impl Painter {
    #[must_use]
    pub fn new(config: &ImagesConfig, io: Handle) -> Self {
        Self {
            io,
            pixels_max: config.pixels_max,
            places: Arc::new(Semaphore::new(config.uploads_max)),
            held: Arc::default(),
            working: Arc::new(Semaphore::new(config.permits())),
        }
    }

    /// Takes a place for an upload of `user`.
    ///
    /// # Errors
    /// [`ImageError::Busy`] when there is none, or the user has as many as one may have.
    pub fn place(&self, user: UserId) -> Result<Place, ImageError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| ImageError::Busy)?;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let of_user = held.entry(user).or_default();
        if *of_user >= UPLOADS_A_USER_MAX {
            return Err(ImageError::Busy);
        }
        *of_user += 1;
        drop(held);
        Ok(Place { painter: self.clone(), user, _place: place })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.painter.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_user) = held.get_mut(&self.user) {
            *of_user = of_user.saturating_sub(1);
            if *of_user == 0 {
                held.remove(&self.user);
            }
        }
    }
}

impl Place {
    /// Makes squares of an upload; what it is, its bytes say.
    ///
    /// # Errors
    /// What is wrong with it, or [`ImageError::Busy`] when nobody got to it in ten seconds.
    pub async fn paint(self, upload: Bytes) -> Result<Painted, ImageError> {
        self.work(upload, paint).await
    }

    /// Makes a picture of an upload that shows all of it, made smaller where a side is longer than 2,048 pixels.
    ///
    /// # Errors
    /// As [`Self::paint`].
    pub async fn paint_whole(self, upload: Bytes) -> Result<Whole, ImageError> {
        self.work(upload, paint_whole).await
    }

    async fn work<T: Send + 'static>(
        self,
        upload: Bytes,
        paint: fn(&[u8], u32) -> Result<T, ImageError>,
    ) -> Result<T, ImageError> {
        let working = Arc::clone(&self.painter.working);
        let turn = tokio::time::timeout(WAIT_MAX, working.acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(ImageError::Busy);
        };
        let io = self.painter.io.clone();
        // The places travel with the work: a caller that goes away frees nothing early.
        let work = move || {
            let painted = paint(&upload, self.painter.pixels_max);
            drop((self, turn));
            painted
        };
        // A decoder that panics has met what it cannot read.
        io.spawn_blocking(work).await.unwrap_or(Err(ImageError::Unreadable))
    }
}

fn paint(upload: &[u8], pixels_max: u32) -> Result<Painted, ImageError> {
    let encoding = sniffed(upload).ok_or(ImageError::TypeNotSupported)?;
    let square = cut(&unpacked(upload, encoding, pixels_max)?);
    let format = if shines_through(&square) { ImageFormat::Png } else { ImageFormat::Jpeg };
    let mut files = Vec::with_capacity(ImageSize::ALL.len());
    let mut picture = square;
    // From large to small: each is made of the one before.
    for size in ImageSize::ALL {
        picture = scaled(picture, size.pixels());
        files.push((size, packed(&picture, format)?));
    }
    Ok(Painted { format, files })
}

fn paint_whole(upload: &[u8], pixels_max: u32) -> Result<Whole, ImageError> {
    let encoding = sniffed(upload).ok_or(ImageError::TypeNotSupported)?;
    let picture = fitted(unpacked(upload, encoding, pixels_max)?, WHOLE_PIXELS_MAX);
    let clear = shines_through(&picture).then(|| packed(&picture, ImageFormat::Png)).transpose()?;
    let (format, file) = match clear.filter(|file| file.len() <= CLEAR_BYTES_MAX) {
        Some(file) => (ImageFormat::Png, file),
        None => (ImageFormat::Jpeg, packed(&picture, ImageFormat::Jpeg)?),
    };
    Ok(Whole { format, file, width: picture.width(), height: picture.height() })
}

/// What the first bytes are the beginning of, whatever the sender calls it.
fn sniffed(upload: &[u8]) -> Option<Encoding> {
    match infer::get(upload)?.mime_type() {
        "image/jpeg" => Some(Encoding::Jpeg),
        "image/png" => Some(Encoding::Png),
        "image/webp" => Some(Encoding::WebP),
        "image/gif" => Some(Encoding::Gif),
        _ => None,
    }
}

/// The pixels, upright, with eight bits a colour; of a moving picture the first.
fn unpacked(
    upload: &[u8],
    encoding: Encoding,
    pixels_max: u32,
) -> Result<DynamicImage, ImageError> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE_PIXELS_MAX);
    limits.max_image_height = Some(SIDE_PIXELS_MAX);
    limits.max_alloc = Some(u64::from(pixels_max).saturating_mul(BYTES_PER_PIXEL_MAX));
    let mut reader = ImageReader::with_format(Cursor::new(upload), encoding);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(refusal)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > u64::from(pixels_max) {
        return Err(ImageError::TooManyPixels);
    }
    // A damaged note about the orientation is no reason to refuse the picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    // Before anything else is made of it: each step has its result and what it is made of in memory.
    let mut picture = narrowed(DynamicImage::from_decoder(decoder).map_err(refusal)?);
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// The picture with eight bits a colour; what it was made of is gone.
fn narrowed(picture: DynamicImage) -> DynamicImage {
    if picture.color().has_alpha() {
        DynamicImage::ImageRgba8(picture.into_rgba8())
    } else {
        DynamicImage::ImageRgb8(picture.into_rgb8())
    }
}

fn refusal(error: image::ImageError) -> ImageError {
    match error {
        image::ImageError::Limits(_) => ImageError::TooManyPixels,
        _ => ImageError::Unreadable,
    }
}

/// The middle of the picture, as wide as it is high.
fn cut(picture: &DynamicImage) -> DynamicImage {
    let (width, height) = (picture.width(), picture.height());
    let side = width.min(height);
    picture.crop_imm((width - side) / 2, (height - side) / 2, side, side)
}

/// The square with a side of at most `pixels`; it is never made larger.
fn scaled(square: DynamicImage, pixels: u32) -> DynamicImage {
    if square.width() <= pixels {
        return square;
    }
    // A good filter costs by the pixels it reads: what is far too large is roughly halved first.
    let roughly = pixels.saturating_mul(2);
    let square =
        if square.width() > roughly { square.thumbnail_exact(roughly, roughly) } else { square };
    square.resize_exact(pixels, pixels, FilterType::CatmullRom)
}

/// The picture with sides of at most `pixels`, of the same shape; it is never made larger.
fn fitted(picture: DynamicImage, pixels: u32) -> DynamicImage {
    let longest = picture.width().max(picture.height());
    if longest <= pixels {
        return picture;
    }
    // As with squares: what is far too large is roughly halved first.
    let roughly = pixels.saturating_mul(2);
    let picture = if longest > roughly { picture.thumbnail(roughly, roughly) } else { picture };
    picture.resize(pixels, pixels, FilterType::CatmullRom)
}

fn shines_through(picture: &DynamicImage) -> bool {
    picture.as_rgba8().is_some_and(|pixels| pixels.pixels().any(|pixel| pixel.0[3] < u8::MAX))
}

fn packed(picture: &DynamicImage, format: ImageFormat) -> Result<Bytes, ImageError> {
    let mut file = Vec::new();
    let written = match format {
        ImageFormat::Jpeg => {
            JpegEncoder::new_with_quality(&mut file, JPEG_QUALITY).encode_image(&picture.to_rgb8())
        }
        ImageFormat::Png => picture.write_with_encoder(PngEncoder::new(&mut file)),
    };
    written.map_err(|_| ImageError::Unreadable)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use image::{ImageBuffer, Rgb, Rgba};

    use super::*;

    const RED: Rgb<u8> = Rgb([220, 20, 20]);
    const BLUE: Rgb<u8> = Rgb([20, 20, 220]);
    const PIXELS_MAX: u32 = 1_000_000;

    /// Red on the left, blue on the right.
    fn halves(width: u32, height: u32) -> DynamicImage {
        let pixel = |x, _| if x < width / 2 { RED } else { BLUE };
        ImageBuffer::from_fn(width, height, pixel).into()
    }

    fn encoded(picture: &DynamicImage, encoding: Encoding) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        picture.write_to(&mut file, encoding).unwrap();
        file.into_inner()
    }

    /// The JPEG with an Exif segment (APP1) that has an orientation and a place where it was taken.
    fn with_exif(jpeg: &[u8], orientation: u8) -> Vec<u8> {
        let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
        exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
        exif.extend(b"GPS 37.5665 N 126.9780 E");
        let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
        [&jpeg[..2], &[0xFF, 0xE1], &length, &exif, &jpeg[2..]].concat()
    }

    fn painted(upload: &[u8]) -> Painted {
        paint(upload, PIXELS_MAX).unwrap()
    }

    fn read(file: &[u8]) -> DynamicImage {
        image::load_from_memory(file).unwrap()
    }

    fn is_like(picture: &DynamicImage, x: u32, y: u32, colour: Rgb<u8>) -> bool {
        let found = picture.to_rgb8().get_pixel(x, y).0;
        found.iter().zip(colour.0).all(|(found, wanted)| found.abs_diff(wanted) < 40)
    }

    #[test]
    fn each_type_becomes_three_squares() {
        for encoding in [Encoding::Jpeg, Encoding::Png, Encoding::WebP, Encoding::Gif] {
            let painted = painted(&encoded(&halves(600, 400), encoding));

            let sides: Vec<_> = painted.files.iter().map(|(_, file)| read(file).width()).collect();
            assert_eq!(sides, [400, 256, 64], "{encoding:?}");
            for (_, file) in &painted.files {
                let picture = read(file);
                assert_eq!(picture.width(), picture.height());
                let (right, middle) = (picture.width() - 2, picture.height() / 2);
                assert!(is_like(&picture, 1, middle, RED), "{encoding:?}");
                assert!(is_like(&picture, right, middle, BLUE), "{encoding:?}");
            }
        }
    }

    #[test]
    fn a_large_picture_is_made_smaller_and_a_small_one_not_larger() {
        let sides = |picture: DynamicImage| -> Vec<u32> {
            let painted = paint(&encoded(&picture, Encoding::Png), 10_000_000).unwrap();
            painted.files.iter().map(|(_, file)| read(file).width()).collect()
        };

        assert_eq!(sides(halves(3_000, 2_500)), [1_024, 256, 64]);
        assert_eq!(sides(halves(100, 40)), [40, 40, 40]);
        assert_eq!(sides(halves(1, 1)), [1, 1, 1]);
    }

    #[test]
    fn what_shines_through_stays_and_what_does_not_is_packed_small() {
        let clear = ImageBuffer::from_fn(80, 80, |x, _| {
            Rgba([20, 20, 220, if x < 40 { 0_u8 } else { 255 }])
        });
        let opaque = ImageBuffer::from_pixel(80, 80, Rgba([20_u8, 20, 220, 255]));

        let clear = painted(&encoded(&clear.into(), Encoding::Png));
        let opaque = painted(&encoded(&opaque.into(), Encoding::Png));

        assert_eq!(opaque.format, ImageFormat::Jpeg);
        assert_eq!(clear.format, ImageFormat::Png);
        let small = read(&clear.files[2].1).to_rgba8();
        assert_eq!((small.get_pixel(2, 30).0[3], small.get_pixel(60, 30).0[3]), (0, 255));
    }

    #[test]
    fn a_picture_stands_upright_and_tells_nothing_of_where_it_was_taken() {
        // Turned by a quarter to the right when shown: left is up.
        let upload = with_exif(&encoded(&halves(320, 320), Encoding::Jpeg), 6);
        assert!(upload.windows(3).any(|bytes| bytes == b"GPS"));

        let painted = painted(&upload);

        for (_, file) in &painted.files {
            let picture = read(file);
            let (middle, bottom) = (picture.width() / 2, picture.height() - 2);
            assert!(is_like(&picture, middle, 1, RED) && is_like(&picture, middle, bottom, BLUE));
            for trace in [&b"GPS"[..], b"Exif"] {
                assert!(!file.windows(trace.len()).any(|bytes| bytes == trace));
            }
        }
    }

    #[test]
    fn a_whole_picture_keeps_its_shape_and_is_made_no_larger() {
        let whole = |width, height| {
            let upload = encoded(&halves(width, height), Encoding::Png);
            paint_whole(&upload, 25_000_000).unwrap()
        };
        for (given, kept) in [
            ((300, 200), (300, 200)),
            ((2_048, 10), (2_048, 10)),
            ((3_000, 1_500), (2_048, 1_024)),
            ((600, 6_000), (205, 2_048)),
            ((9_000, 1), (2_048, 1)),
        ] {
            let whole = whole(given.0, given.1);
            assert_eq!((whole.width, whole.height), kept, "{given:?}");
            let picture = read(&whole.file);
            assert_eq!((picture.width(), picture.height()), kept, "{given:?}");
            assert_eq!(whole.format, ImageFormat::Jpeg);
        }
        let picture = read(&whole(3_000, 1_500).file);
        assert!(is_like(&picture, 5, 500, RED) && is_like(&picture, 2_040, 500, BLUE));
    }

    #[test]
    fn a_whole_picture_that_shines_through_is_a_photograph_where_it_would_be_too_large() {
        // What a generator says is no pattern that PNG could pack.
        let noise = |seed: u32| {
            let mut state = seed;
            move || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state.to_be_bytes()[0]
            }
        };
        let mut next = noise(7);
        let pixel = |_, _| Rgba([next(), next(), next(), next()]);
        let loud = DynamicImage::from(ImageBuffer::from_fn(1_200, 1_200, pixel));
        let mut upload = Vec::new();
        loud.write_with_encoder(PngEncoder::new(&mut upload)).unwrap();
        assert!(upload.len() > CLEAR_BYTES_MAX, "{}", upload.len());

        let whole = paint_whole(&upload, 25_000_000).unwrap();

        assert_eq!(whole.format, ImageFormat::Jpeg);
        assert!(whole.file.len() < CLEAR_BYTES_MAX, "{}", whole.file.len());
    }

    #[test]
    fn a_whole_picture_stands_upright_and_tells_nothing_of_where_it_was_taken() {
        let upload = with_exif(&encoded(&halves(400, 200), Encoding::Jpeg), 6);

        let whole = paint_whole(&upload, PIXELS_MAX).unwrap();

        assert_eq!((whole.width, whole.height), (200, 400));
        for trace in [&b"GPS"[..], b"Exif"] {
            assert!(!whole.file.windows(trace.len()).any(|bytes| bytes == trace));
        }
        assert_eq!(paint_whole(b"<svg/>", PIXELS_MAX).err(), Some(ImageError::TypeNotSupported));
        let wide = encoded(&halves(1_001, 1_000), Encoding::Jpeg);
        assert_eq!(paint_whole(&wide, PIXELS_MAX).err(), Some(ImageError::TooManyPixels));
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        let png = encoded(&halves(64, 64), Encoding::Png);
        for (upload, error) in [
            (
                &b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"[..],
                ImageError::TypeNotSupported,
            ),
            (b"<!DOCTYPE html><script>alert(1)</script>", ImageError::TypeNotSupported),
            (b"%PDF-1.7", ImageError::TypeNotSupported),
            (b"BM\0\0\0\0\0\0\0\0\0\0\0\0\0\0", ImageError::TypeNotSupported),
            (b"", ImageError::TypeNotSupported),
            (b"GIF89a\x08\0\x08\0\0\0\0<script>alert(1)</script>", ImageError::Unreadable),
            (&png[..png.len() / 2], ImageError::Unreadable),
            (&png[..8], ImageError::Unreadable),
        ] {
            assert_eq!(paint(upload, PIXELS_MAX).err(), Some(error), "{upload:?}");
        }
    }

    #[test]
    fn a_bomb_is_refused_by_what_it_claims_before_it_is_unpacked() {
        let mut png = encoded(&halves(8, 8), Encoding::Png);
        png[16..20].copy_from_slice(&20_000_u32.to_be_bytes());
        png[20..24].copy_from_slice(&20_000_u32.to_be_bytes());
        // Its own sum has to be right: of the header's type and data.
        let sum = crc32(&png[12..29]).to_be_bytes();
        png[29..33].copy_from_slice(&sum);

        assert_eq!(paint(&png, 25_000_000).err(), Some(ImageError::TooManyPixels));
        let strip = encoded(&halves(SIDE_PIXELS_MAX + 1, 1), Encoding::Png);
        assert_eq!(paint(&strip, PIXELS_MAX).err(), Some(ImageError::TooManyPixels));
        let wide = encoded(&halves(1_001, 1_000), Encoding::Jpeg);
        assert_eq!(paint(&wide, PIXELS_MAX).err(), Some(ImageError::TooManyPixels));
        assert!(paint(&encoded(&halves(1_000, 1_000), Encoding::Jpeg), PIXELS_MAX).is_ok());
    }

    #[test]
    fn a_picture_of_many_bits_has_eight_before_it_is_worked_on() {
        let wide = ImageBuffer::from_pixel(30, 20, Rgba([65_535_u16, 0, 0, 65_535]));
        let upload = encoded(&DynamicImage::ImageRgba16(wide), Encoding::Png);

        let picture = unpacked(&upload, Encoding::Png, PIXELS_MAX).unwrap();

        assert_eq!(picture.color(), image::ColorType::Rgba8);
        assert!(is_like(&picture, 1, 1, RED));
    }

    #[tokio::test]
    async fn one_user_has_two_places_and_leaves_the_others_theirs() {
        let painter = painter(4);
        let [one, other] = [1, 2].map(user);
        let places = [painter.place(one).unwrap(), painter.place(one).unwrap()];

        assert_eq!(painter.place(one).err(), Some(ImageError::Busy));
        assert!(painter.place(other).is_ok());
        drop(places);

        assert!(painter.place(one).is_ok());
        assert!(painter.held.lock().unwrap().is_empty());
    }

    fn user(n: u128) -> UserId {
        uuid::Uuid::from_u128(n).into()
    }

    fn painter(uploads_max: usize) -> Painter {
        let config = ImagesConfig {
            bytes_max: 1_024,
            pixels_max: PIXELS_MAX,
            concurrency: 1,
            uploads_max,
            read_timeout_ms: 1_000,
        };
        Painter::new(&config, Handle::current())
    }

    #[tokio::test]
    async fn a_full_house_refuses_at_once_and_recovers() {
        let painter = painter(1);
        let place = painter.place(user(1)).unwrap();
        assert_eq!(painter.place(user(2)).err(), Some(ImageError::Busy));

        let painted = place.paint(encoded(&halves(9, 9), Encoding::Png).into()).await;

        assert!(painted.is_ok());
        assert!(painter.place(user(2)).is_ok());
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |sum, byte| {
            (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
                if sum & 1 == 1 { sum >> 1 ^ 0xEDB8_8320 } else { sum >> 1 }
            })
        })
    }
}
