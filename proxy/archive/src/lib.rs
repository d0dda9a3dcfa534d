//! Folders of MP4 recordings: naming pattern, index of samples, samples.
