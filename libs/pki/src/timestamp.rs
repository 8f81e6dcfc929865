//! RFC 3161 timestamps: request, TSTInfo, CMS SignedData.
