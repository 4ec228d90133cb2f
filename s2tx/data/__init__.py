"""Tables in, windows out: catalog, reading, validation, versions, masks, scaling."""
