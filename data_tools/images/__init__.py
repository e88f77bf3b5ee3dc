"""Image files: what they say of themselves, how they are decoded, and drawing on pictures.

Which bytes are good enough to store is decided in `convert/prepare_image.py`.
"""
