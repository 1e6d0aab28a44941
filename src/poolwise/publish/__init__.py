"""Publishing: what a saved model would send to a hub, and the upload in one commit."""

from poolwise.publish.bundle import Bundle, build_bundle
from poolwise.publish.push import Pushed, push_bundle

__all__ = ["Bundle", "Pushed", "build_bundle", "push_bundle"]
