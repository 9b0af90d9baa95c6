"""The one search box of the admin: what a text may mean, where it is looked up, and the page of what was found."""
