from fieldwise.see.making import view as view
from fieldwise.see.notes import Notes as Notes
from fieldwise.see.notes import notes_of as notes_of
from fieldwise.see.page import Page as Page
