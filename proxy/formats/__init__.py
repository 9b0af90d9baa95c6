"""The API formats, one file each: what is read of a request, of an answer, and of a stream."""
