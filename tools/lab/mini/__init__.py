"""The bundled model's world: pictures, captions, training, samples and the judge. Read first: train."""
