# SPDX-License-Identifier: MIT
# gnuplot -e "data='FILE'; plot_to='FILE.svg'" two-machines.gp
set terminal svg size 900,400 dynamic font "sans-serif,13" background "white"
set output plot_to
set multiplot layout 1,2
set logscale x 2
set logscale y 10
set xlabel "memory of the process, MB"
set xtics (16, 64, 256, 1024)
set xrange [12:1400]
set grid
set key below
set style data linespoints
set title "Downtime, seconds"
set yrange [0.1:*]
plot data using 1:2 title "mitosis" lw 2 pt 7 ps 0.6, data using 1:3 title "CRIU" lw 2 pt 5 ps 0.6, \
	data using 1:4 title "CRIU, lazy pages" lw 2 pt 9 ps 0.6
set title "Bytes before it runs there"
set yrange [1e4:*]
set format y "%.0s %cB"
plot data using 1:5 title "mitosis" lw 2 pt 7 ps 0.6, data using 1:6 title "CRIU" lw 2 pt 5 ps 0.6, \
	data using 1:7 title "CRIU, lazy pages" lw 2 pt 9 ps 0.6
