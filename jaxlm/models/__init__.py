"""Model configurations, the architectures made of `jaxlm.nn` parts, and their sizes."""
