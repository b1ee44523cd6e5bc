// Answers the questions on stdin, as tests/see/asking.py puts them, with the page's own modules.
import { readFileSync } from "node:fs";
import { answered } from "./answered.mjs";
import { Network, numbersOf } from "../../src/fieldwise/see/page/pull.js";

const { network, ...asked } = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(answered(new Network(network), numbersOf, asked)));
