"""A web page that shows what a recognizer makes of a clip (`demo/web_demo.py`).

The server needs the optional extra `web` (Starlette and uvicorn); it is imported when the
page is started, not before.
"""

from .jobs import Job, Jobs
from .server import make_app
from .uploads import Limits, UploadError, check_video

__all__ = ['Job', 'Jobs', 'Limits', 'UploadError', 'check_video', 'make_app']
