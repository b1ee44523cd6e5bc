export function answered(network, numbersOf, asked) {
  return {
    at: asked.at.map(([value, unit, channel]) => {
      const { products, exact, why } = network.at(value, unit, channel);
      return { products, exact, why, ...numbersOf(products) };
    }),
    unbounded: asked.at.map(([value, unit]) => network.unbounded(value, unit)),
    who: asked.who.map((position) => {
      const reached = network.who(position);
      return network.values.map((_, number) => network.units(reached, number));
    }),
  };
}
