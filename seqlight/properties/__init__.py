"""What makes a cell sound, one function a property: it raises `PropertyError` where the property does not hold."""
