"""The pictures of a comparison, a file an idea: panels that draw themselves into an Axes, and sheets of panels."""
