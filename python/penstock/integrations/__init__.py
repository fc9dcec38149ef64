"""Faces for other people's frameworks, each an extra; importing this package imports none of them."""
