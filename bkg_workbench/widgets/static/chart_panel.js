// A chart by itself; panels that hold one have `chart.js` before their own file.

export default live(Chart);
