//! Media bytes, pure: RTP splicing, the ONVIF replay extension, random access points, packetizing.
