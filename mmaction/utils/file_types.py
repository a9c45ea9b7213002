"""Extensions of the files that are taken for images and videos, in small letters."""

__all__ = ['IMAGE_EXTENSIONS', 'VIDEO_EXTENSIONS']

IMAGE_EXTENSIONS = ('.bmp', '.jpeg', '.jpg', '.png', '.webp')
VIDEO_EXTENSIONS = (
    *('.3gp', '.avi', '.flv', '.m2ts', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg'),
    *('.mts', '.ogv', '.ts', '.vob', '.webm', '.wmv'),
)
