from fieldwise.see.data import Notes as Notes
from fieldwise.see.making import view as view
from fieldwise.see.page import Page as Page
