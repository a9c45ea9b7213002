"""Building blocks that backbones share."""
