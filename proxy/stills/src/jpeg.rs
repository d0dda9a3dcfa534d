//! From a picture to a JPEG file (JFIF 1.02): full range, colours mixed by BT.601.

use jpeg_encoder::{Encoder, EncodingError, ImageBuffer, JpegColorType, SamplingFactor};

use crate::Picture;

/// The quality of stills, of 100: no block is seen, and a still has a tenth of a bit a pixel more than the stream.
pub const QUALITY: u8 = 92;

/// As a JPEG file.
pub fn jpeg(picture: &Picture, quality: u8) -> Result<Vec<u8>, EncodingError> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, quality);
    encoder.set_sampling_factor(match picture.chroma_step {
        (1, _) => SamplingFactor::F_1_1,
        (_, 1) => SamplingFactor::F_2_1,
        _ => SamplingFactor::F_2_2,
    });
    encoder.encode_image(Rows {
        picture,
        tables: Tables::new(picture.full_range),
    })?;
    Ok(file)
}

/// What a sample of the stream is worth in full range.
struct Tables {
    luma: [u8; 256],
    chroma: [u8; 256],
}

impl Tables {
    fn new(full_range: bool) -> Self {
        let stretch = |zero: f32, steps: f32, value: usize| {
            let value = (value as f32 - zero) * 255.0 / steps;
            if zero == LUMA_ZERO {
                value
            } else {
                value + CHROMA_ZERO
            }
        };
        let table = |zero, steps| {
            std::array::from_fn(|value| {
                if full_range {
                    value as u8
                } else {
                    stretch(zero, steps, value).round().clamp(0.0, 255.0) as u8
                }
            })
        };
        Tables {
            luma: table(LUMA_ZERO, 219.0),
            chroma: table(CHROMA_ZERO, 224.0),
        }
    }
}

const LUMA_ZERO: f32 = 16.0;
const CHROMA_ZERO: f32 = 128.0;

struct Rows<'a> {
    picture: &'a Picture,
    tables: Tables,
}

impl ImageBuffer for Rows<'_> {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        JpegColorType::Ycbcr
    }

    fn width(&self) -> u16 {
        self.picture.width
    }

    fn height(&self) -> u16 {
        self.picture.height
    }

    fn fill_buffers(&self, row: u16, buffers: &mut [Vec<u8>; 4]) {
        let picture = self.picture;
        let [luma, blue, red] = &picture.planes;
        let width = usize::from(picture.width);
        let (step_x, step_y) = picture.chroma_step;
        let (step_x, step_y) = (usize::from(step_x.max(1)), usize::from(step_y.max(1)));
        let chroma_width = width / step_x;
        let row = usize::from(row);
        // A picture of odd height or width has no chroma of its own in its last row or column.
        let chroma_row =
            (row / step_y).min((usize::from(picture.height) / step_y).saturating_sub(1));
        for x in 0..width {
            let at = chroma_row * chroma_width + (x / step_x).min(chroma_width.saturating_sub(1));
            let pixel = |plane: &[u8], at: usize, grey| plane.get(at).copied().unwrap_or(grey);
            let y = self.tables.luma[usize::from(pixel(luma, row * width + x, 16))];
            let cb = self.tables.chroma[usize::from(pixel(blue, at, 128))];
            let cr = self.tables.chroma[usize::from(pixel(red, at, 128))];
            let mixed = if picture.bt709 {
                bt601_of_bt709(y, cb, cr)
            } else {
                [y, cb, cr]
            };
            for (buffer, value) in buffers.iter_mut().zip(mixed) {
                buffer.push(value);
            }
        }
    }
}

/// Colours mixed by BT.709 as BT.601 mixes them (both full range): to RGB by the one and back by the other.
fn bt601_of_bt709(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (y, cb, cr) = (
        f32::from(y),
        f32::from(cb) - CHROMA_ZERO,
        f32::from(cr) - CHROMA_ZERO,
    );
    let r = y + 1.5748 * cr;
    let g = y - 0.187_324 * cb - 0.468_124 * cr;
    let b = y + 1.8556 * cb;
    let luma = 0.299 * r + 0.587 * g + 0.114 * b;
    let blue = (b - luma) / 1.772 + CHROMA_ZERO;
    let red = (r - luma) / 1.402 + CHROMA_ZERO;
    [luma, blue, red].map(|value| value.round().clamp(0.0, 255.0) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_stretched_to_the_full_one() {
        let tables = Tables::new(false);
        assert_eq!(
            [0, 16, 126, 235, 255].map(|y: usize| tables.luma[y]),
            [0, 0, 128, 255, 255]
        );
        assert_eq!(
            [16, 128, 240].map(|c: usize| tables.chroma[c]),
            [1, 128, 255]
        );
        let tables = Tables::new(true);
        assert_eq!([0, 16, 255].map(|y: usize| tables.luma[y]), [0, 16, 255]);
    }

    #[test]
    fn grey_is_grey_in_either_matrix_and_red_is_not() {
        assert_eq!(bt601_of_bt709(77, 128, 128), [77, 128, 128]);
        // Pure red: by BT.709 it has less luma than by BT.601 (ITU-R BT.709-6 and BT.601-7, item 3.2).
        assert_eq!(bt601_of_bt709(54, 99, 255), [76, 85, 255]);
    }
}
