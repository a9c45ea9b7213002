"""One module for each dataset whose official annotation can be read."""
