"""The operations API: what people, and pages for people, look at and change over HTTP."""
