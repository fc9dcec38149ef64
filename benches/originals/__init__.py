"""Responses streams as other libraries write them, made by those libraries themselves."""
